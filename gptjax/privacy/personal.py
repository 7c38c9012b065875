"""Personal data that has a form: addresses, numbers of cards, accounts and people, by presidio-analyzer's patterns.

Names of persons and places have none: those take a language model, which is not loaded here, and are not found.
"""

import functools
from typing import Any

from gptjax.config import BadInput
from gptjax.privacy.findings import Finding

LEAST_SCORE = 0.4  # of presidio's confidence; what is below is a bare number that may be anything
LEAST_IP = 7  # characters: `::2` is a slice in Python, and an address
KINDS = {  # presidio's recognizers, by class
    "EmailRecognizer": "EMAIL_ADDRESS",
    "PhoneRecognizer": "PHONE_NUMBER",
    "CreditCardRecognizer": "CREDIT_CARD",
    "IbanRecognizer": "IBAN_CODE",
    "UsSsnRecognizer": "US_SSN",
    "CryptoRecognizer": "CRYPTO",
    "IpRecognizer": "IP_ADDRESS",
    "MacAddressRecognizer": "MAC_ADDRESS",
}


def find(text: str) -> list[Finding]:
    """Raises BadInput without the extra [audit]."""
    found = []
    for recognizer in recognizers():
        for result in recognizer.analyze(text, recognizer.supported_entities, None):
            short = result.entity_type == "IP_ADDRESS" and result.end - result.start < LEAST_IP
            if result.score >= LEAST_SCORE and not short:
                found.append(Finding(result.entity_type, result.start, result.end))
    return found


def loaded() -> bool:
    """Whether the recognizers are there already: making them takes seconds."""
    return recognizers.cache_info().currsize > 0


@functools.cache
def recognizers() -> list[Any]:
    """Loading presidio-analyzer takes seconds, for it loads spaCy, of which nothing here makes use."""
    try:
        import tldextract
        from presidio_analyzer import predefined_recognizers as known
    except ImportError as error:
        raise BadInput("looking for personal data needs presidio-analyzer; pip install 'gptjax[audit]'") from error
    domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # or it would ask the network for a list

    class Emails(known.EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return domains(pattern_text.rpartition("@")[2]).suffix != ""

    return [Emails() if name == "EmailRecognizer" else getattr(known, name)() for name in KINDS]
