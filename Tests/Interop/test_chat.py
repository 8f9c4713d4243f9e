"""Conversations as ids: ours against the formats of Meta's reference code, put together here from tiktoken's ids."""

import itertools
import json

import pytest
import reference
import sentencepiece
import torch
from conftest import FIXTURES
from tokenizer_parity import tiktoken_encoder

@pytest.fixture(scope="module")
def tiny2_tokenizer():
    return FIXTURES / "tiny2/tokenizer.model"


CHATS = [
    [("user", "This is a test sentence."), ("assistant", "So it is.")],
    [("system", "Be terse.\n"), ("user", "  spaces  "), ("assistant", "\n\nlines\n"), ("user", "<|eot_id|><s>"), ("assistant", "ünïcödé 🎉")],
    [("user", "tool"), ("ipython", "{}"), ("assistant", "")],
]


def rendered(programs, model, chats):
    lines = "".join(json.dumps([{"role": role, "content": text} for role, text in chat]) + "\n" for chat in chats)
    rows = programs.run("llama-verify", "tokenize", "--chat", model, stdin=lines).stdout.splitlines()
    return [[(int(word.rstrip("*")), word.endswith("*")) for word in row.split()] for row in rows]


def llama3(encode, special, chat):
    ids = [(special["<|begin_of_text|>"], False)]
    for role, text in chat:
        header = [special["<|start_header_id|>"], *encode(role), special["<|end_header_id|>"], *encode("\n\n")]
        ids += [(id, False) for id in header]
        ids += [(id, role == "assistant") for id in [*encode(text), special["<|eot_id|>"]]]
    return ids


def test_llama3_ids(programs, tiny):
    encode = tiktoken_encoder(tiny / "tokenizer.model")
    added = json.loads((tiny / "tokenizer.json").read_text())["added_tokens"]
    special = {token["content"]: token["id"] for token in added}
    assert rendered(programs, tiny, CHATS) == [llama3(encode, special, chat) for chat in CHATS]


def width(piece):
    return 1 if piece.startswith("<0x") else len(piece.replace("\u2581", " ").encode())


def test_llama2_ids(programs, tiny2_tokenizer):
    """As chat_completion of Meta's Llama 2 puts them together, by sentencepiece; scored is what holds a byte of the answer."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tiny2_tokenizer))
    chats = [
        [("user", " What is a tensor? "), ("assistant", "An array.\n")],
        [("system", "Be terse."), ("user", "One"), ("assistant", "a\u2581b  c"), ("user", "Two </s>"), ("assistant", "ü 🎉")],
    ]
    expected = []
    for chat in chats:
        ids = []
        system = f"<<SYS>>\n{chat[0][1]}\n<</SYS>>\n\n" if chat[0][0] == "system" else ""
        turns = chat[1:] if system else chat
        for (_, question), (_, answer) in zip(turns[::2], turns[1::2]):
            prompt = f"[INST] {(system + question).strip()} [/INST] "
            system = ""
            own = processor.encode(prompt + answer.strip() + " ")
            # In bytes, the dummy prefix in front; a byte piece is one, and a space stands for U+2581.
            ends = list(itertools.accumulate(width(processor.id_to_piece(id)) for id in own))
            scored = [end > 1 + len(prompt.encode()) for end in ends]
            ids += [(processor.bos_id(), False), *zip(own, scored), (processor.eos_id(), True)]
        expected.append(ids)
    assert rendered(programs, tiny2_tokenizer, chats) == expected


def test_only_the_assistant_is_scored(programs, tiny, tmp_path):
    """The mean NLL of the scored tokens against transformers' logits of the whole conversation."""
    chat = tmp_path / "chat.jsonl"
    chat.write_text("".join(json.dumps({"messages": [{"role": r, "content": t} for r, t in c]}) + "\n" for c in CHATS))
    report = json.loads(programs.run("llama-verify", tiny, "--chat", chat, "--json").stdout)
    model = reference.load(tiny)
    total, count = 0.0, 0
    for ids in rendered(programs, tiny, CHATS):
        tokens = torch.tensor([[id for id, _ in ids]])
        with torch.inference_mode():
            logs = torch.log_softmax(model(tokens).logits[0].double(), -1)
        for position in range(1, len(ids)):
            if ids[position][1]:
                total -= logs[position - 1, ids[position][0]].item()
                count += 1
    assert report["tokens"]["scored"] == count and report["tokens"]["protocol"] == "chat"
    assert report["nll"]["base_per_token"] == pytest.approx(total / count, rel=1e-5)
    # "So it is.", "\n\nlines\n", "ünïcödé 🎉" and nothing; ends of turns are no text.
    texts = [text for chat in CHATS for role, text in chat if role == "assistant"]
    ratio = report["nll"]["base_per_character"] * sum(map(len, texts))
    assert ratio == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("line, says", [("{", "line 2"), ('{"messages": []}', ""), ('[{"role": "user"}]', "line 2, message 1")])
def test_bad_lines_are_named(programs, tiny, tmp_path, line, says):
    chat = tmp_path / "chat.jsonl"
    good = json.dumps([{"role": "assistant", "content": "x"}])
    chat.write_text(good + "\n" + line + "\n")
    done = programs.run("llama-verify", tiny, "--chat", chat, expected=(65,) if says else (0,))
    assert says in done.stderr and (not says or str(chat) in done.stderr)
