"""Train a small GPT-2 on short stories and export it as a Hugging Face directory.

The text is UTF-8 with stories parted by `<|endoftext|>`. The vocabulary is a byte-level BPE
learned from the training text. The learning rate falls to zero exactly when the budget ends, be
it seconds of processor time or steps. A checkpoint lets a stopped run go on where it was, under
another budget if wished.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

END = "<|endoftext|>"
TEMPERATURE = 0.6  # recommended: so small a model repeats itself below it, and loses its thread above
CONTEXT = 256
WARMUP = 0.03


def read_stories(path):
    """The stories of a text file, without the blanks around them."""
    parts = Path(path).read_text(encoding="utf-8").split(END)
    return [story.strip() for story in parts if story.strip()]


def train_tokenizer(stories, size):
    """A byte-level BPE of `size` entries whose id 0 is the end-of-text token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories, trainer)
    return tokenizer


def encode(tokenizer, stories):
    """Each story as a tensor of ids that begins with the end-of-text token."""
    return [torch.tensor([0, *e.ids]) for e in tokenizer.encode_batch(stories)]


def batches(stories, rows, seed):
    """Endless batches of CONTEXT + 1 ids; every pass shuffles the stories and joins them anew."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(stories), generator=generator).tolist()
        stream = torch.cat([stories[i] for i in order])
        shift = int(torch.randint(CONTEXT, (1,), generator=generator))
        starts = torch.arange(shift, len(stream) - CONTEXT - 1, CONTEXT)
        starts = starts[torch.randperm(len(starts), generator=generator)]
        for chunk in starts.split(rows):
            yield torch.stack([stream[s : s + CONTEXT + 1] for s in chunk.tolist()])


def loss_of(model, ids, reduction="mean"):
    """Cross entropy of the next token at every position of a batch of CONTEXT + 1 ids."""
    logits = model(ids[:, :-1], use_cache=False).logits.float()
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction=reduction)


@torch.no_grad()
def evaluate(model, stories, limit=None):
    """Summed loss and count of tokens over windows of the joined stories, cut at `limit` rows."""
    training = model.training
    model.eval()
    stream = torch.cat([*stories, torch.tensor([0])])
    rows = stream[: (len(stream) - 1) // CONTEXT * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    rows = rows[:limit]
    total = sum(loss_of(model, chunk, "sum").item() for chunk in rows.split(8))
    model.train(training)
    return total, rows.shape[0] * CONTEXT


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made nearly orthogonal by Newton-Schulz steps."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                buffer = self.state[param].setdefault("momentum", torch.zeros_like(param))
                buffer.lerp_(param.grad, 1 - group["momentum"])
                update = param.grad.lerp(buffer, group["momentum"])
                rows, columns = update.shape
                update = orthogonalise(update) * max(1, columns / rows) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.sub_(update, alpha=group["lr"])


def orthogonalise(matrix, steps=5):
    """Bring all singular values near one by a quintic iteration, for which bfloat16 is exact enough."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = (x / (x.norm() + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x if wide else x.T).float()


def build(args, vocab_size):
    """A fresh model, or one grown in depth from `args.init` without changing what it computes."""
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=CONTEXT,
        n_embd=args.width,
        n_layer=args.layers,
        n_head=args.heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=args.dropout,
        embd_pdrop=args.dropout,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    if args.init:
        grow(model, GPT2LMHeadModel.from_pretrained(args.init, dtype=torch.float32))
    return model


def grow(model, old):
    """Copy `old` into the deeper `model`; a block that stands twice adds nothing the second time."""
    deep, shallow = model.transformer, old.transformer
    for name in ("wte", "wpe", "ln_f"):
        getattr(deep, name).load_state_dict(getattr(shallow, name).state_dict())
    sources = [i * len(shallow.h) // len(deep.h) for i in range(len(deep.h))]
    for i, source in enumerate(sources):
        deep.h[i].load_state_dict(shallow.h[source].state_dict())
        if i and source == sources[i - 1]:
            for layer in (deep.h[i].attn.c_proj, deep.h[i].mlp.c_proj):
                torch.nn.init.zeros_(layer.weight)
                torch.nn.init.zeros_(layer.bias)


def optimizers(model, args):
    """Muon for the matrices of the blocks, AdamW for all else."""
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=args.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices, args.muon_lr, weight_decay=args.weight_decay), adam]


def export(model, tokenizer, folder):
    """Write the model in f16, its tokenizer and their settings."""
    folder.mkdir(parents=True, exist_ok=True)
    half = GPT2LMHeadModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half()
    half.config.activation_function = "gelu_new"
    half.config.dtype = torch.float16
    half.generation_config.do_sample = True
    half.generation_config.temperature = TEMPERATURE
    half.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": END,
        "eos_token": END,
        "unk_token": END,
        "model_max_length": CONTEXT,
        "add_prefix_space": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def train(args):
    """Train until the budget is spent, then export and print the held-out loss."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    texts, held_texts = read_stories(args.train), read_stories(args.heldout)
    tokenizer = train_tokenizer(texts, args.vocab)
    stories, held = encode(tokenizer, texts), encode(tokenizer, held_texts)
    held_bytes = sum(len(text.encode()) for text in held_texts)
    model = build(args, tokenizer.get_vocab_size()).train()
    workers = optimizers(model, args)
    step, spent = 0, 0.0
    checkpoint = args.out / "checkpoint.pt"
    args.out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        for worker, state in zip(workers, saved["workers"], strict=True):
            worker.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)

    feed = batches(stories, args.rows, args.seed + step)
    begun, last_saved = time.process_time() - spent, spent
    mean = None
    while True:
        spent = time.process_time() - begun
        progress = step / args.steps if args.steps else spent / args.seconds
        if progress >= 1:
            break
        rate = min(1.0, (progress + 1e-3) / WARMUP, (1 - progress) / (1 - WARMUP))
        loss = 0.0
        for _ in range(args.accumulate):
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                part = loss_of(model, next(feed)) / args.accumulate
            part.backward()
            loss += part.item()
        for worker, peak in zip(workers, (args.muon_lr, args.adam_lr), strict=True):
            for group in worker.param_groups:
                group["lr"] = peak * rate
            worker.step()
            worker.zero_grad(set_to_none=True)
        step += 1
        mean = loss if mean is None else 0.95 * mean + 0.05 * loss
        if step % 20 == 0:
            tokens = step * args.rows * args.accumulate * CONTEXT
            print(f"step {step} {spent:.0f} s {tokens} tokens loss {mean:.4f}", flush=True)
        if spent - last_saved > args.save_every:
            last_saved = spent
            state = {
                "model": model.state_dict(),
                "workers": [worker.state_dict() for worker in workers],
                "step": step,
                "spent": spent,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            total, count = evaluate(model, held, limit=24)
            print(f"held out {total / count:.4f} nats a token (part)", flush=True)

    export(model, tokenizer, args.out / "hf")
    total, count = evaluate(model, held)
    share = count / sum(len(ids) for ids in held)
    figures = {
        "steps": step,
        "seconds": round(spent),
        "tokens": step * args.rows * args.accumulate * CONTEXT,
        "nats_per_token": total / count,
        "nats_per_byte": total / share / held_bytes,
        "perplexity": math.exp(total / count),
    }
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


def main():
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path, help="training text")
    parser.add_argument("heldout", type=Path, help="held-out text")
    parser.add_argument("out", type=Path, help="folder for the checkpoint and the exported model")
    parser.add_argument("--init", type=Path, help="a model of the same width to grow from")
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.0, help="of embeddings and of branches")
    parser.add_argument("--bf16", action="store_true", help="multiply in bfloat16")
    parser.add_argument("--rows", type=int, default=4, help="windows a pass")
    parser.add_argument("--accumulate", type=int, default=4, help="passes a step")
    parser.add_argument("--muon-lr", type=float, default=0.01)
    parser.add_argument("--adam-lr", type=float, default=0.002)
    parser.add_argument("--weight-decay", type=float, default=0.0, help="of the matrices")
    parser.add_argument("--seconds", type=float, default=2700, help="budget of processor time")
    parser.add_argument("--steps", type=int, help="budget of steps, in place of seconds")
    parser.add_argument("--save-every", type=float, default=120, help="seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
