"""What no run could use: values out of range, words that do not exist, sizes that do not fit each other."""

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

from gptjax.keys import (
    AT_LEAST,
    AT_MOST,
    BASE_WORDS,
    BELOW_ONE,
    CHOICES,
    FREE_TEXT,
    LARGEST_INT,
    BadInput,
    Config,
    flatten,
)

LEAST_EPSILON = 0.01  # below, it takes minutes to count and nothing is learnt
LEAST_CLIP_NORM = 1e-6  # squares of gradients that are shorter by far are 0 in float32


def without_password(text: str) -> str:
    """The text with the password of every URL in it (`scheme://user:password@host`) replaced."""
    return re.sub(r"(\w+://[^/\s:@]*:)[^/\s@]+@", r"\1***@", text)


def validate(cfg: Config) -> None:
    """Raises BadInput, naming the key and the nearest right value, for what no run could use."""
    flat = flatten(dataclasses.asdict(cfg))
    for key, value in flat.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise BadInput(f"{key}={value}: must be a finite number")
    for key, allowed in CHOICES.items():
        for value in flat[key] if isinstance(flat[key], tuple) else (flat[key],):
            if value not in allowed:
                near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.0)
                raise BadInput(f"{key}={value!r}: did you mean {near[0]!r}? It is one of {', '.join(allowed)}")
    for key, value in flat.items():
        least = AT_LEAST[key] if key in AT_LEAST else 0
        if type(value) in (int, float) and value < least:
            raise BadInput(f"{key}={value}: must be at least {least}")
    for key in BELOW_ONE:
        if flat[key] >= 1:
            raise BadInput(f"{key}={flat[key]}: must be below 1")
    for key, value in flat.items():
        most = AT_MOST[key] if key in AT_MOST else LARGEST_INT
        numbers = value if isinstance(value, tuple) else (value,)
        if any(number > most for number in numbers if key in AT_MOST or type(number) is int):
            raise BadInput(f"{key}={value}: must be at most {most}")
    validate_words(cfg, flat)
    validate_sizes(cfg)
    validate_tuning(cfg)
    validate_privacy(cfg)


def validate_words(cfg: Config, flat: Mapping[str, Any]) -> None:
    """The part of `validate` that is about names and paths."""
    for key in BASE_WORDS:
        if not flat[key]:
            raise BadInput(f"{key}: is empty; configs/base.py has {key}={BASE_WORDS[key]!r}")
    for key, value in flat.items():
        words = value if isinstance(value, tuple) else (value,)
        if any(not word.isprintable() for word in words if isinstance(word, str)) and key not in FREE_TEXT:
            raise BadInput(f"{key}={value!r}: must be one line of characters that can be printed")
        if any(without_password(word) != word for word in words if isinstance(word, str)):
            raise BadInput(f"{key}: holds a password, and run.json keeps every key; give it in the environment")
    if twice := [spec for number, spec in enumerate(cfg.data.corpora) if spec in cfg.data.corpora[:number]]:
        raise BadInput(
            f"data.corpora: {twice[0]} stands there twice; name it once, with a larger entry of data.weights"
        )


def validate_sizes(cfg: Config) -> None:
    """The part of `validate` that holds several keys against each other."""
    m, sizes = cfg.model, dataclasses.astuple(cfg.mesh)
    if m.d_model % m.n_heads:
        near = max(m.n_heads, round(m.d_model / m.n_heads) * m.n_heads)
        raise BadInput(f"model.d_model={m.d_model} is not a multiple of model.n_heads={m.n_heads}; try {near}")
    if m.n_heads % m.n_kv_heads:
        near = max(k for k in range(1, m.n_kv_heads + 1) if m.n_heads % k == 0)
        raise BadInput(f"model.n_kv_heads={m.n_kv_heads} does not divide model.n_heads={m.n_heads}; try {near}")
    if m.position == "rope" and m.d_head % 2:
        raise BadInput(f"model.position='rope' needs an even head width, got d_model/n_heads={m.d_head}")
    if m.remat == "none" and (m.saved or m.offloaded):
        key = "saved" if m.saved else "offloaded"
        raise BadInput(f"model.{key}: model.remat='none' keeps everything; try model.remat='full'")
    if twice := sorted(set(m.saved) & set(m.offloaded)):
        raise BadInput(f"model.offloaded={m.offloaded}: {twice[0]} is in model.saved too; leave it in one")
    if m.mup_base_width and m.tied:
        raise BadInput("model.mup_base_width: muP's head has a rate of its own; set model.tied=False")
    if m.mup_base_width and cfg.optim.name == "sgd":
        raise BadInput("optim.name='sgd': has no rule in muP here (model.mup_base_width); try 'adamw'")
    n_parts = 1 if cfg.privacy.on else cfg.accumulate  # a private batch is not all of its rows
    if cfg.batch_tokens % (m.context * n_parts):
        unit = m.context * n_parts
        near = max(unit, round(cfg.batch_tokens / unit) * unit)
        raise BadInput(
            f"batch_tokens={cfg.batch_tokens} is not a multiple of model.context x accumulate={unit}; try {near}"
        )
    if m.context % cfg.loss.n_chunks:
        near = max(c for c in range(1, cfg.loss.n_chunks + 1) if m.context % c == 0)
        raise BadInput(f"loss.n_chunks={cfg.loss.n_chunks} does not divide model.context={m.context}; try {near}")
    if len(cfg.data.weights) != len(cfg.data.corpora) or not cfg.data.corpora:
        n, weights = len(cfg.data.corpora), len(cfg.data.weights)
        advice = f"; give each its share: data.weights={','.join('1' * n)}" if n else "; name a corpus, such as python"
        raise BadInput(f"data.weights has {weights} entr{'y' if weights == 1 else 'ies'} for {n} data.corpora{advice}")
    kind = "preferences" if cfg.data.preferences else "dialogs"
    if cfg.data.dialogs and not all(spec.startswith(f"{kind}:") for spec in cfg.data.corpora):
        other = next(spec for spec in cfg.data.corpora if not spec.startswith(f"{kind}:"))
        what = "dialogs" if other.startswith("dialogs:") else "text"
        raise BadInput(f"data.corpora: {other} is {what}, and beside {kind} stand only {kind}; leave it out")
    if cfg.data.dialogs and not cfg.data.mask_documents:
        raise BadInput("data.mask_documents=False: dialogs share rows and would see each other; set it to true")
    if cfg.data.chat_template and not cfg.data.dialogs:
        raise BadInput(f"data.chat_template={cfg.data.chat_template}: is for data.corpora=dialogs:GLOB; leave it empty")
    if min(cfg.data.weights) <= 0:
        raise BadInput(f"data.weights={cfg.data.weights}: every weight must be above 0")
    if cfg.optim.warmup_steps >= cfg.n_steps:
        few = cfg.n_steps // 10
        raise BadInput(f"optim.warmup_steps={cfg.optim.warmup_steps} must be below n_steps={cfg.n_steps}; try {few}")
    if sizes.count(-1) > 1 or 0 in sizes:
        raise BadInput(f"mesh={sizes}: sizes are above 0, and at most one may be -1 (inferred)")
    if cfg.spike.action == "rollback" and (not cfg.save_every or not cfg.keep_every or cfg.keep_every % cfg.save_every):
        near = max(1, round(cfg.keep_every / (cfg.save_every or 1))) * (cfg.save_every or cfg.keep_every or 1000)
        raise BadInput(
            f"spike.action='rollback' goes back to checkpoints kept for good: keep_every={cfg.keep_every} must be "
            f"a multiple of save_every={cfg.save_every}, both above 0; try keep_every={near}"
        )
    if len(cfg.profile_steps) not in (0, 2) or list(cfg.profile_steps) != sorted(cfg.profile_steps):
        raise BadInput(f"profile_steps={cfg.profile_steps}: give the first and last step, or nothing")
    if min(cfg.profile_steps, default=0) < 0:
        raise BadInput(f"profile_steps={cfg.profile_steps}: steps are at least 0")
    if max(cfg.profile_steps, default=-1) >= cfg.n_steps:
        raise BadInput(f"profile_steps={cfg.profile_steps}: the last step must be below n_steps={cfg.n_steps}")


def validate_tuning(cfg: Config) -> None:
    """The part of `validate` that is about what is trained, how fast, and from which weights."""
    patterns, rates, lora = cfg.tune.patterns, cfg.tune.rates, cfg.lora
    if len(patterns) != len(rates):
        raise BadInput(f"tune.rates has {len(rates)} entries for {len(patterns)} tune.patterns")
    if min(rates, default=0) < 0:
        raise BadInput(f"tune.rates={rates}: every rate must be at least 0")
    for key, words in (("tune.patterns", patterns), ("lora.matrices", (lora.matrices,))):
        for word in words:
            try:
                re.compile(word)
            except re.error as error:
                raise BadInput(f"{key}: {word!r} is not a regular expression ({error})") from error
    if lora.alpha <= 0:
        raise BadInput(f"lora.alpha={lora.alpha}: must be above 0; twice lora.rank is usual")
    if lora.rank and not cfg.init_from:
        raise BadInput(f"lora.rank={lora.rank}: adapters are beside weights that are there; name them as init_from")
    if cfg.dpo.beta <= 0:
        raise BadInput(f"dpo.beta={cfg.dpo.beta}: must be above 0; 0.1 is usual")
    if cfg.data.preferences and not cfg.init_from:
        raise BadInput("data.corpora: preferences need weights to begin with, the reference; name them as init_from")
    if cfg.data.preferences and cfg.data.too_long.startswith("cut"):
        raise BadInput(f"data.too_long={cfg.data.too_long!r}: a cut answer is not the one preferred; try 'drop'")
    if cfg.data.preferences and cfg.loss.z_weight:
        raise BadInput(f"loss.z_weight={cfg.loss.z_weight}: is no part of the loss of preferences; set it to 0")
    if cfg.stop_patience and not cfg.eval_every:
        raise BadInput(f"stop_patience={cfg.stop_patience}: counts evaluations, and eval_every=0 makes none; try 100")
    metrics = ["eval/nll", "eval/bits_per_byte"]
    metrics += ["eval/dpo_loss", "eval/dpo_accuracy", "eval/dpo_margin"] if cfg.data.preferences else []
    metrics += [f"eval/nll/{spec}" for spec in cfg.data.corpora if len(cfg.data.corpora) > 1]
    if cfg.stop_metric not in metrics:
        near = difflib.get_close_matches(cfg.stop_metric, metrics, n=1, cutoff=0.0)[0]
        raise BadInput(f"stop_metric={cfg.stop_metric!r}: did you mean {near!r}? The run logs {', '.join(metrics)}")


def validate_privacy(cfg: Config) -> None:
    """The part of `validate` that is about differential privacy: what would cost more than the accountant says."""
    p = cfg.privacy
    if not p.on:
        for key in ("noise_multiplier", "epsilon", "max_batch"):
            if getattr(p, key):
                raise BadInput(f"privacy.{key}={getattr(p, key)}: privacy is off while privacy.clip_norm=0; try 1.0")
        return
    if p.clip_norm < LEAST_CLIP_NORM:
        raise BadInput(f"privacy.clip_norm={p.clip_norm}: must be 0 (off) or at least {LEAST_CLIP_NORM}; 1.0 is usual")
    if 0 < p.epsilon < LEAST_EPSILON:
        raise BadInput(f"privacy.epsilon={p.epsilon}: must be 0 (noise as given) or at least {LEAST_EPSILON}")
    if p.noise_multiplier and p.epsilon:
        raise BadInput(f"privacy.epsilon={p.epsilon}: finds the noise itself; set privacy.noise_multiplier=0")
    if p.delta == 0:
        raise BadInput("privacy.delta=0: Gaussian noise gives no such promise; try 1e-5")
    if p.max_batch < cfg.mean_rows or p.max_batch % cfg.accumulate:
        near = math.ceil((cfg.mean_rows + 4 * cfg.mean_rows**0.5) / cfg.accumulate) * cfg.accumulate
        raise BadInput(
            f"privacy.max_batch={p.max_batch}: must be a multiple of accumulate={cfg.accumulate} and at least "
            f"batch_tokens / model.context={cfg.mean_rows}, the rows drawn on average; try {near}"
        )
    refused = {
        "model.dropout": (cfg.model.dropout, "is not drawn example by example", 0.0),
        "spike.action": (cfg.spike.action, "acts on the loss of examples, which is not private", "none"),
    }
    for key, (value, why, only) in refused.items():
        if value != only:
            raise BadInput(f"{key}={value!r}: {why}; with privacy.clip_norm set it to {only!r}")
    if p.method == "ghost" and cfg.model.dtype != "float32":
        raise BadInput(
            f"privacy.method='ghost': its two passes would round {cfg.model.dtype} apart; "
            "try model.dtype='float32', or privacy.method='vmap'"
        )
    validate_private_data(cfg)


def validate_private_data(cfg: Config) -> None:
    """What examples are drawn from must be a list of them that depends on nothing but each."""
    data = cfg.data
    if len(data.corpora) > 1:
        raise BadInput(f"data.corpora={data.corpora}: a private run draws from one list of examples; name one corpus")
    if data.preferences:
        raise BadInput("data.corpora: preferences cannot be learnt privately here; set privacy.clip_norm=0")
    if data.dialogs and data.fill != "fixed":
        raise BadInput(
            f"data.fill={data.fill!r}: an example is a row, and a dialog more would pack all rows anew; try 'fixed'"
        )
    if cfg.tokenizer.name in ("bpe", "characters") and not cfg.tokenizer.path:
        raise BadInput(
            f"tokenizer.path: is empty, so {cfg.tokenizer.name!r} would be made of the private text and show its "
            "words; name the tokenizer of another run, or try tokenizer.name='bytes'"
        )
