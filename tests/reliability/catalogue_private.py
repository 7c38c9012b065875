"""Bad input of private runs: an override of the tiny config, what is said of it."""

ON = "privacy.clip_norm=1 --config.privacy.max_batch=24"
OF_A_PRIVATE_RUN = [
    ("--config.privacy.clip_norm=1e-9", "privacy.clip_norm=1e-09: must be 0 (off) or at least 1e-06"),
    ("--config.privacy.delta=0", "privacy.delta=0: Gaussian noise gives no such promise; try 1e-5"),
    ("--config.privacy.delta=1", "privacy.delta=1.0: must be below 1"),
    ("--config.privacy.epsilon=3 --config.privacy.noise_multiplier=1", "set privacy.noise_multiplier=0"),
    ("--config.privacy.max_batch=4", "the rows drawn on average; try 20"),
    ("--config.accumulate=5", "must be a multiple of accumulate=5"),
    ("--config.privacy.method=gost", "did you mean 'ghost'?"),
    (
        "--config.privacy.method=ghost --config.model.dtype=bfloat16",
        "its two passes would round bfloat16 apart",
    ),
    ("--config.model.dropout=0.1", "model.dropout=0.1: is not drawn example by example"),
    ("--config.spike.action=log", "spike.action='log': acts on the loss of examples"),
    ("--config.data.corpora=synthetic,python --config.data.weights=1,1", "name one corpus"),
    ("--config.data.corpora=dialogs:x", "data.fill='budget': an example is a row"),
    ("--config.data.corpora=preferences:x --config.init_from={run}", "preferences cannot be learnt privately"),
    ("--config.tokenizer.name=bpe", "tokenizer.path: is empty, so 'bpe' would be made of the private text"),
    ("--config.batch_tokens=1e8 --config.privacy.max_batch=2e6", "batch_tokens: draws 1,562,500 examples"),
    (
        "--config.privacy.method=ghost --config.tune.patterns=blocks/0/.* --config.tune.rates=0",
        "privacy.method='ghost' counts together",
    ),
    ("--config.privacy.epsilon=1e-9", "privacy.epsilon=1e-09: must be 0 (noise as given) or at least 0.01"),
]
KEYS = [
    *((f"{ON} {words}", says) for words, says in OF_A_PRIVATE_RUN),
    ("privacy.clip_norm=-1", "privacy.clip_norm=-1.0: must be at least 0"),
    ("privacy.epsilon=8", "privacy.epsilon=8.0: privacy is off while privacy.clip_norm=0; try 1.0"),
]
