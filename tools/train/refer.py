"""Write reference.json beside a story model, and print its loss on a text and some stories.

The reference holds, for a few prompts, the ids, the 20 largest logits of the last position, and
64 greedy tokens with the gap between the first and the second logit, all in f32 from the weights
as saved.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from train_stories import encode, evaluate, read_stories

PROMPTS = (
    "",
    "Once upon a time there was a",
    "Lily and Ben were playing",
    'The dog said, "Hello!',
)
GREEDY = 64


@torch.no_grad()
def continue_greedily(model, ids, count):
    """Greedy tokens and how far each was ahead of the next best."""
    ids, gaps = list(ids), []
    for _ in range(count):
        best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        ids.append(best.indices[0].item())
        gaps.append(round((best.values[0] - best.values[1]).item(), 5))
    return ids[-count:], gaps


@torch.no_grad()
def sample(model, ids, count, temperature):
    """Tokens drawn at a temperature until the end of the story."""
    ids = list(ids)
    for _ in range(count):
        logits = model(torch.tensor([ids])).logits[0, -1]
        ids.append(torch.multinomial((logits / temperature).softmax(0), 1).item())
        if ids[-1] == 0:
            break
    return ids


@torch.no_grad()
def refer(model, tokenizer):
    """One entry for every prompt."""
    entries = []
    for prompt in PROMPTS:
        ids = [0, *tokenizer.encode(prompt).ids]
        top = model(torch.tensor([ids])).logits[0, -1].topk(20)
        tokens, gaps = continue_greedily(model, ids, GREEDY)
        entries.append(
            {
                "prompt": prompt,
                "ids": ids,
                "top_ids": top.indices.tolist(),
                "top_logits": [round(x, 5) for x in top.values.tolist()],
                "greedy_ids": tokens,
                "greedy_gaps": gaps,
                "greedy_text": tokenizer.decode(tokens),
            }
        )
    return entries


def main():
    """Read the arguments, write the reference, print losses and samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--heldout", type=Path, help="text whose loss to print")
    parser.add_argument("--windows", type=int, help="how much of the text, if not all")
    parser.add_argument("--samples", type=int, default=0, help="stories to print")
    parser.add_argument("--write", action="store_true", help="write reference.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT2LMHeadModel.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    if args.heldout:
        texts = read_stories(args.heldout)
        stories = encode(tokenizer, texts)
        total, count = evaluate(model, stories, args.windows)
        per_token = sum(len(text.encode()) for text in texts) / sum(len(ids) for ids in stories)
        loss = total / count
        print(f"{loss:.4f} nats a token, {loss / per_token:.4f} nats a byte, {count} tokens")
    if args.write:
        entries = [json.dumps(entry, ensure_ascii=False) for entry in refer(model, tokenizer)]
        (args.model / "reference.json").write_text("[\n" + ",\n".join(entries) + "\n]\n")
    for prompt in (PROMPTS[:2] * args.samples)[: args.samples]:
        ids = sample(model, [0, *tokenizer.encode(prompt).ids], 230, 0.8)
        print("---", tokenizer.decode(ids), sep="\n")


if __name__ == "__main__":
    main()
