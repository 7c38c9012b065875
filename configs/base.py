"""Every key, with its unit and a plain value. Other configs start from here and change lines of it."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.name = "base"  # shown in tables
    c.note = ""  # why this run exists, kept in run.json
    c.tags = ()  # words to find it by
    c.seed = 0  # of initialisation, batch order and dropout
    c.init_from = ""  # weights to start from: a run, a checkpoint in it or a Hugging Face folder; empty = fresh

    c.n_steps = 1000  # optimizer updates
    c.batch_tokens = 16_384  # tokens in one update, over all devices and accumulated parts
    c.accumulate = 1  # parts a batch is cut into, one after another, to save memory
    c.log_every = 10  # steps between lines of metrics.jsonl
    c.eval_every = 100  # steps between evaluations; 0 = only at the end
    c.eval_tokens = 65_536  # held-out tokens that each evaluation scores, always the same ones
    c.save_every = 500  # steps between checkpoints; 0 = only at the end
    c.keep_last = 2  # newest checkpoints kept, besides the one with the lowest eval/nll
    c.keep_every = 0  # a checkpoint of every so many steps is kept for good; 0 = none
    c.sample_every = 0  # steps between lines of samples.jsonl; 0 = only at the end
    c.sample_prompt = "\n"  # text that the samples continue
    c.sample_tokens = 128  # length of a sample; 0 = none, which saves its compilation
    c.stop_after_s = 0.0  # wall-clock limit in seconds, then save and exit 75; 0 = none
    c.stop_patience = 0  # evaluations without a better stop_metric that end the run; its best one is kept; 0 = none
    c.stop_metric = "eval/nll"  # or eval/bits_per_byte, eval/nll/CORPUS of a mixture
    c.stuck_after_s = 60.0  # a step that takes so long, and 10 medians, ends the run; a save, 30 times so long; 0 = off
    c.profile_steps = ()  # first and last step to trace for XProf and TensorBoard

    c.model = ConfigDict()
    c.model.vocab_size = 256  # entries of the tokenizer
    c.model.context = 256  # positions a token can look back over, itself included
    c.model.n_layers = 4
    c.model.d_model = 256  # width of the residual stream
    c.model.n_heads = 4  # query heads; each has width d_model / n_heads
    c.model.n_kv_heads = 4  # key/value heads; below n_heads = grouped-query attention
    c.model.d_hidden = 1024  # width inside the MLP
    c.model.position = "learned"  # learned | rope
    c.model.rope_base = 10_000.0  # longest wavelength of rope, in positions / 2 pi
    c.model.norm = "layer"  # layer | rms
    c.model.norm_eps = 1e-5  # added to the variance
    c.model.mlp = "gelu"  # gelu (tanh form) | gelu_exact | relu | swiglu | relu2
    c.model.bias = True  # in projections and norms
    c.model.qk_norm = False  # normalise queries and keys of each head
    c.model.tied = True  # the head is the token embedding
    c.model.parallel = False  # attention and MLP read the same input
    c.model.logit_softcap = 0.0  # logits become c tanh(logits / c); 0 = off
    c.model.dropout = 0.0  # probability, on embeddings, attention and residual writes
    c.model.pad_vocab_to = 128  # the embedding has a multiple of so many rows; padding gets probability 0
    c.model.mup_base_width = 0  # muP: rates and initial weights of a model so wide carry over to d_model; 0 = off
    c.model.dtype = "float32"  # of activations: float32 | bfloat16; parameters, softmax, norms and loss are float32
    c.model.attention = "auto"  # kernel: auto (by device, mesh, dtype) | reference | blockwise | splash | cudnn | ring
    c.model.scan = True  # one compiled block in a loop; False = written out: slower to compile, faster on CPU and GPU
    c.model.remat = "none"  # recomputed in the backward pass: none | dots (all but matmuls) | full
    c.model.saved = ()  # but for these: residual_in, mixed_heads, attn_out, mlp_hidden, mlp_out
    c.model.offloaded = ()  # and these, which wait in the host's memory

    c.tokenizer = ConfigDict()
    c.tokenizer.name = "bytes"  # bytes | characters | gpt2 | bpe (trained on the corpus) | sentencepiece
    c.tokenizer.path = ""  # of a gpt2 or sentencepiece tokenizer; of bpe and characters, RUN/tokenizer of another run

    c.data = ConfigDict()
    c.data.corpora = ("python",)  # python | synthetic | tfds:NAME | splits:DIR | text:, dialogs: or preferences:GLOB
    c.data.weights = (1.0,)  # share of each corpus; several make a mixture
    c.data.mask_documents = True  # no token attends across a document's start
    c.data.chat_template = ""  # Jinja file that writes dialogs; empty = lines `User: ...` and `Assistant: ...`
    c.data.fill = "budget"  # rows of dialogs: budget (as many as fit) | buckets (of like lengths) | fixed (one each)
    c.data.too_long = "drop"  # a dialog longer than the context: drop | cut_prompt | cut_answer | refuse (the run)
    c.data.cache = "~/.cache/gptjax"  # where tokenised shards are kept

    c.loss = ConfigDict()
    c.loss.z_weight = 0.0  # of (log Z)^2, which keeps logits near 0; 1e-4 is usual
    c.loss.n_chunks = 1  # parts of the context whose logits are held one at a time

    c.optim = ConfigDict()
    c.optim.name = "adamw"  # adamw | adafactor | lion | muon | sgd
    c.optim.peak_lr = 1e-3
    c.optim.schedule = "cosine"  # cosine | linear | wsd | inverse_sqrt | constant
    c.optim.warmup_steps = 50  # linear, from peak_lr / (warmup_steps + 1)
    c.optim.final_lr_fraction = 0.1  # of peak_lr, at n_steps
    c.optim.decay_fraction = 0.2  # of n_steps, the cooldown of wsd
    c.optim.b1 = 0.9  # decay of the first moment; momentum of muon and sgd
    c.optim.momentum_dtype = "float32"  # in which the first moment is kept: float32 | bfloat16
    c.optim.b2 = 0.95  # decay of the second moment
    c.optim.eps = 1e-8
    c.optim.weight_decay = 0.1  # on matrices, decoupled, times the learning rate
    c.optim.clip_norm = 1.0  # of the global gradient norm; 0 = off
    c.optim.ema_decay = 0.0  # of an average of the parameters that evaluation uses; 0 = none

    c.tune = ConfigDict()  # fine-tuning: the learning rate of some parameters
    c.tune.patterns = ()  # regular expressions of whole names, as blocks/0/attn/w_q or w_tok; the first fit counts
    c.tune.rates = ()  # what each multiplies the learning rate by; 0 = frozen

    c.lora = ConfigDict()  # fine-tuning: adapters a b of low rank beside frozen weights of init_from
    c.lora.rank = 0  # 0 = off
    c.lora.alpha = 16.0  # weights are w + alpha / rank a b
    c.lora.matrices = "blocks/attn/w_[qv]"  # regular expression of whole names: those that have adapters

    c.dpo = ConfigDict()  # learning from preferences:GLOB, the weights of init_from being the reference
    c.dpo.beta = 0.1  # how much is lost by moving away from the reference

    c.privacy = ConfigDict()  # differential privacy of each example (docs/privacy.md); needs the [privacy] extra
    c.privacy.clip_norm = 0.0  # most that an example's gradient may be long; 0 = off
    c.privacy.noise_multiplier = 0.0  # standard deviation of the noise on the sum of gradients, in clip_norm
    c.privacy.epsilon = 0.0  # or this after n_steps, for which noise_multiplier is found; 0 = noise_multiplier as given
    c.privacy.delta = 1e-5  # well below 1 / examples
    c.privacy.max_batch = 0  # rows of a step, of which batch_tokens / context are drawn on average
    c.privacy.method = "vmap"  # vmap (each gradient of a part at once) | ghost (two passes, a layer of each at once)

    c.spike = ConfigDict()
    c.spike.action = "none"  # on a spike of the loss: none | log | skip (that update) | rollback (to one of keep_every)
    c.spike.threshold = 6.0  # robust standard deviations above the median of the latest losses
    c.spike.window = 128  # so many losses; nothing is a spike before there are as many

    c.mesh = ConfigDict()  # devices along each axis; -1 = all that are left
    c.mesh.replica = 1  # whole copies of the parameters (between slices)
    c.mesh.data = -1  # batch rows, parameters and optimizer state (FSDP)
    c.mesh.tensor = 1  # heads, hidden units and vocabulary
    c.mesh.sequence = 1  # positions

    c.log = ConfigDict()  # echoes of metrics.jsonl
    c.log.tensorboard = False
    c.log.wandb_project = ""  # needs the [wandb] extra
    c.log.trackio_project = ""  # needs the [trackio] extra
    return c.lock()
