#!/usr/bin/env python3
"""Compares our token ids with tiktoken's and tokenizers' on seeded adversarial strings.

    python3 Tests/Interop/tokenizer_parity.py --command "PROGRAM … {file}" MODEL_DIR…

For each directory and each of its files tokenizer.model and tokenizer.json, the command is run with `{file}` replaced by
the file's path and `{dir}` by the directory's. It reads lines of hexadecimal UTF-8 and prints a line of ids for each,
separated by spaces. Its ids from tokenizer.model must equal tiktoken's, those from tokenizer.json tokenizers'; where the
two libraries differ from each other, that is counted and shown too. Exits 1 on any difference of ours.
Needs the packages tiktoken and tokenizers.
"""

import argparse
import base64
import json
import pathlib
import random
import shlex
import subprocess
import sys

import tiktoken
import tokenizers

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WHITE = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
NEARLY_WHITE = [0x1C, 0x1D, 0x1E, 0x1F, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00]
CONTRACTIONS = ["s", "t", "re", "ve", "m", "ll", "d", "\u017f", "r", "v", "l", "\u1e9e", "\ufb06", "e"]
EMOJI = [
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇺🇳🇺🇳🇺", "1️⃣", "❤️", "🫠", "🧑🏿‍🚀", "⌚︎", "\U0001f3f4\U000e0067\U000e0062\U000e007f",
]
SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\n", "<|python_tag|>",
    "<|reserved_special_token_0|>", "<|begin_of_text", "<|<|eot_id|>|>", "<|finetune_right_pad_id|>", "[INST]", "<s>", "</s>",
]
CODE = [
    "def f(x):\n    return x ** 2  # square\n", "if (a && !b) {\r\n\t\treturn -1;\r\n}", "x = {'a': [1, 2, 3], \"b\": None}\n\n\n",
    "SELECT * FROM t WHERE id='1';--", "<div class=\"x\">&nbsp;</div>", "let v: [UInt8] = []; v += [0xFF]", "\\u0041\\x41 $PATH ~/.bashrc",
    "\t\t\t\tfor(;;);\n\n    \n  ", "a+=b-=c*=d/=e%=f", "https://example.com/a?b=c&d=%20e#f", "1,234,567.890e-12 0x1F 3.14159265358979",
]
WORDS = (
    "the of and quantization model won't they're I'll we've he'd it's O'Neill rock'n'roll naïve façade Straße İstanbul ﬁne "
    "Ελληνικά русский 日本語のテキスト 한국어 العربية עברית हिन्दी ไทย Tiếng ქართული አማርኛ ᏣᎳᎩ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 Ⅷ ½ ² ٣٤٥ १२३ 一二三 〇"
).split()
# Scalars at the edges of planes, blocks, encodings and of the classes.
EDGES = [
    0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFF, 0x20000, 0x2A6DF, 0x2A6E0, 0x2FA1D,
    0x31350, 0x323AF, 0x323B0, 0xE0001, 0xF0000, 0x10FFFF, 0x1C89, 0xA7CB, 0xA7CE, 0x105C0, 0x10940, 0x10D40, 0x11DE0, 0x88F,
]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kinds = [
            self.any_plane, self.same_plane, self.run, self.emoji, self.white, self.digits, self.code, self.contraction,
            self.special, self.marks, self.newlines, self.lossy, self.words, self.everything, self.edges, self.short,
        ]

    def scalar(self, low=0, high=0x10FFFF):
        while True:
            c = self.random.randint(low, high)
            if not 0xD800 <= c <= 0xDFFF:
                return chr(c)

    def many(self, item, low, high):
        return "".join(item() for _ in range(self.random.randint(low, high)))

    def choice(self, items):
        return self.random.choice(items)

    def any_plane(self):
        return self.many(self.scalar, 1, 60)

    def same_plane(self):
        start = self.random.choice([0, 0, 0, 1, 1, 2, 3, 14, 15, 16]) << 16 | self.random.randrange(0, 0x10000, 0x80)
        return self.many(lambda: self.scalar(start, start + 0x7F) if not 0xD800 <= start <= 0xDFFF else "x", 1, 60)

    def run(self):
        unit = self.choice(["a", "ab", " ", "\n", "!", "é", "日", "1", "\u0301", "🙂", "aa ", "=", "-", "\t", "e", "in", "ing", "/"])
        length = self.choice([1, 2, 3, 7, 95, 96, 97, 98, 127, 128, 129, 255, 500, 1000, 3000]) + self.random.randrange(3)
        return self.choice(["", " ", "x"]) + unit * (length // len(unit) + 1) + self.choice(["", " ", "\n", "x"])

    def emoji(self):
        return self.many(lambda: self.choice(EMOJI) + self.choice(["", "", " ", "a", "\n"]), 1, 10)

    def white(self):
        def part():
            if self.random.random() < 0.7:
                return chr(self.choice(WHITE)) * self.choice([1, 1, 2, 5])
            return self.choice([chr(self.choice(NEARLY_WHITE)), "a", "1", "!", "é", "日", "'s"])

        return self.many(part, 1, 40)

    def digits(self):
        def part():
            zero = self.choice([0x30, 0x30, 0x660, 0x966, 0xFF10, 0x1D7CE])
            if self.random.random() < 0.8:
                return chr(zero + self.random.randrange(10))
            return self.choice([".", ",", " ", "²", "½", "Ⅻ", "①", "〇", "a", "\n"])

        return self.many(part, 1, 40)

    def code(self):
        return self.many(lambda: self.choice(CODE), 1, 4)

    def contraction(self):
        def part():
            tail = "".join(self.choice([c.lower(), c.upper()]) for c in self.choice(CONTRACTIONS))
            return self.choice(["I", "x", "", " ", "1", "é", "\n", "'", "’"]) + self.choice(["'", "'", "'", "’", "''"]) + tail

        return self.many(lambda: part() + self.choice(["", " ", "x", "S", "\u0301"]), 1, 12)

    def special(self):
        return self.many(lambda: self.choice(["", " ", "a", "\n"]) + self.choice(SPECIAL), 1, 6)

    def marks(self):
        def part():
            return self.choice(list("aeoAEn ")) + self.many(lambda: chr(self.choice([*range(0x300, 0x370), 0x20DD, 0x93C, 0x94D, 0xFE0F])), 0, 4)

        return self.many(part, 1, 30)

    def newlines(self):
        return self.many(lambda: self.choice(["\r\n", "\n", "\r", "\n\r", " ", "  ", "\t", "\u2028", "\x85", "\x0b", "\x0c", "a", "."]), 1, 40)

    def lossy(self):
        return self.random.randbytes(self.random.randint(1, 80)).decode("utf-8", errors="replace")

    def words(self):
        return self.many(lambda: self.choice(WORDS) + self.choice([" ", " ", " ", "\n", ", ", ". ", "  ", "-"]), 1, 30)

    def edges(self):
        return self.many(lambda: chr(self.choice(EDGES)) + self.choice(["", "", "a", " ", "1"]), 1, 20)

    def short(self):
        return self.many(lambda: self.choice([*"abest 'S1!\n\r\t", "ſ", "é", "\u00a0", "\u3000"]), 1, 8)

    def everything(self):
        return "".join(self.choice(self.kinds[:13])()[: self.random.randint(1, 30)] for _ in range(self.random.randint(2, 8)))

    def strings(self, count):
        fixed = ["", " ", "\n", "'", "'ſ", "a'ſb", "\ufeffa", "a" * 20000, " " * 20000, "\n" * 20000, "é" * 9000, "1" * 5000]
        return fixed + [self.kinds[i % len(self.kinds)]() for i in range(count)]


def ids_of_ours(command, folder, file, texts):
    line = [part.replace("{file}", str(file)).replace("{dir}", str(folder)) for part in shlex.split(command)]
    done = subprocess.run(
        line, input="".join(text.encode().hex() + "\n" for text in texts), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{shlex.join(line)}: exit {done.returncode}\n{done.stderr}")
    rows = done.stdout.split("\n")
    if len(rows) != len(texts) + 1:
        sys.exit(f"{shlex.join(line)}: {len(rows) - 1} lines for {len(texts)} texts")
    return [list(map(int, row.split())) for row in rows[:-1]]


def tiktoken_encoder(file):
    ranks = {}
    for line in file.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    encoding = tiktoken.Encoding("model", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    return encoding.encode_ordinary


def tokenizers_encoder(file):
    document = json.loads(file.read_text())
    document["added_tokens"] = []
    document["post_processor"] = None
    encoder = tokenizers.Tokenizer.from_str(json.dumps(document))
    return lambda text: encoder.encode(text, add_special_tokens=False).ids


def compare(name, ours, theirs, texts, shown=5):
    wrong = [index for index, (a, b) in enumerate(zip(ours, theirs)) if a != b]
    print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} equal")
    for index in wrong[:shown]:
        print(f"  {texts[index][:60]!r}\n    {ours[index][:20]}\n    {theirs[index][:20]}")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=16000)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    texts = Generator(options.seed).strings(options.count)
    print(f"{len(texts)} strings, {sum(len(t.encode()) for t in texts)} bytes, seed {options.seed}")
    failures = 0
    for folder in options.models:
        references = {}
        for file, library, make in (
            (folder / "tokenizer.model", "tiktoken", tiktoken_encoder),
            (folder / "tokenizer.json", "tokenizers", tokenizers_encoder),
        ):
            if not file.exists():
                continue
            encode = make(file)
            references[library] = [encode(text) for text in texts]
            ours = ids_of_ours(options.command, folder, file, texts)
            failures += compare(f"{folder.name}/{file.name} against {library}", ours, references[library], texts)
        if len(references) == 2:
            compare(f"{folder.name}: tiktoken against tokenizers", *references.values(), texts)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
