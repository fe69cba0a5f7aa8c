"""Write the golden set: texts of every kind and what sentence-transformers makes of them.

Run in an environment with sentence-transformers:

    python tests/golden/make_golden.py DIRECTORY_OF_ALL_MINILM_L6_V2

texts.json holds name -> text, vectors.safetensors one row for each in the same order, with the
versions that made it in its metadata. Each text is encoded alone, on one thread, in float32.
"""

import hashlib
import itertools
import json
import platform
import re
import sys
from pathlib import Path

import numpy as np
import safetensors
import sentence_transformers
import tokenizers
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent

# One token each, so that a text of n words has n + 2 tokens.
WORDS = (
    "the river rose in spring and the old mill turned again while children ran along the bank "
    "to see how fast the water could carry paper boats under the bridge past the church"
)


def write_words(tokens: int) -> str:
    """A text of exactly so many tokens, special tokens included."""
    return " ".join(itertools.islice(itertools.cycle(WORDS.split()), tokens - 2))


TEXTS = {
    # The example of sentence-transformers' README
    "readme 1": "The weather is lovely today.",
    "readme 2": "It's so sunny outside!",
    "readme 3": "He drove to the stadium.",
    # Nearly nothing
    "empty": "",
    "one space": " ",
    "only white space": " \t\n\r  ",
    "one letter": "a",
    "one digit": "7",
    "full stop": ".",
    "question mark": "?",
    "one word": "hello",
    "one capital word": "Hello",
    "two words": "good morning",
    "word in pieces": "electroencephalographically",
    # White space
    "spaces around": "   a text with spaces around it   ",
    "many spaces": "a    text   with     gaps",
    "lines and tabs": "first line\nsecond line\r\n\tan indented third\n\n\nand a last one",
    "other spaces": "no-break\u00a0space, thin\u2009, ideographic\u3000, line\u2028separator",
    # Latin letters with marks
    "french": "Le garçon a mangé une crème brûlée près de l'île.",
    "german": "Die Straße über den Fluß ist gesperrt, weil Größe zählt.",
    "polish": "Zażółć gęślą jaźń, powiedział żółw.",
    "turkish": "İstanbul'da ılık bir akşam, IĞDIR'da soğuk.",
    "vietnamese": "Hôm nay trời đẹp và tôi muốn đi dạo ở Hà Nội.",
    "icelandic": "Þorsteinn át ólífur í húsinu með æðarfugli.",
    "combining marks": "cafe\u0301 nai\u0308ve Malmo\u030a",
    "stacked marks": "z\u0351\u036b\u0343a\u0310\u0346\u0321l\u035c\u0334g\u0322\u0337o\u0321",
    "ligatures": "The oﬃce ﬁle of Æsop cost ½ of ²³ ducats.",
    "all capitals": "STOP SHOUTING AT THE COMPUTER",
    "mixed case": "iPhone mAcBoOk eBay NumPy",
    # Other scripts
    "chinese": "今天天气很好，我们去公园散步吧。",
    "japanese": "猫が窓辺で静かに眠っています。カタカナも。",
    "korean": "오늘은 비가 와서 집에서 책을 읽었다.",
    "rare han": "𠮷野家で𩸽を食べた",
    "russian": "Поезд опоздал на два часа, и мы пили чай.",
    "greek": "Η γάτα κοιμάται στον ήλιο, ΟΔΥΣΣΕΥΣ.",
    "hebrew": "החתול ישן על הספה כל היום.",
    "hebrew with points": "בְּרֵאשִׁית הָיָה הַדָּבָר",
    "arabic": "القطة تنام على الأريكة طوال اليوم.",
    "persian": "می‌خواهم کتاب‌های تازه بخوانم.",
    "right-to-left marks": "left \u202eright to left\u202c and \u2067isolated\u2069 again \u200f",
    "hindi": "बिल्ली सोफ़े पर सो रही है।",
    "thai": "แมวนอนหลับอยู่บนโซฟาทั้งวัน",
    "tamil": "பூனை தூங்குகிறது",
    "georgian": "კატა ძილშია და მზე ანათებს",
    "mixed scripts": "Moscow Москва 莫斯科 モスクワ موسكو מוסקבה",
    "look-alikes": "раураl is not paypal",
    # Symbols
    "emoji": "I love this 😍🔥🔥",
    "only emoji": "🎉🎊🥳",
    "emoji joined": "👩‍👩‍👧‍👦 visited 🏳️‍🌈 with 👨🏽‍💻",
    "flags and keycaps": "🇩🇪 beat 🇧🇷 7️⃣:1️⃣",
    "full width": "Ｆｕｌｌ ｗｉｄｔｈ，１２３！",
    "mathematics": "∀x ∈ ℝ: x² ≥ 0, ∑ᵢ aᵢ ≤ ∫ f(t) dt ≈ 3.14 × 10⁻⁵",
    "mathematical letters": "𝐛𝐨𝐥𝐝 𝒔𝒄𝒓𝒊𝒑𝒕 𝔣𝔯𝔞𝔨𝔱𝔲𝔯",
    "currency": "It costs €5, £4.20, ¥600 or ₹450 (≈ $5.40).",
    "quotes and dashes": "“Well” – she said — ‘it’s… fine’ « enough »",
    "punctuation only": "?!... --- ;;; (((",
    "box drawing": "┌──┐│ok│└──┘ ▓▒░ ★☆",
    "music and chess": "♪ ♫ ♔ ♛ ☕ ✈",
    # Characters that are not seen
    "control characters": "bell\x07 escape\x1b[31m red\x1b[0m delete\x7f backspace\x08 c1\x85 end",
    "nul": "before\x00after \x00",
    "zero width": "zero\u200bwidth\u200cjoined\u200dword\ufeff mark",
    "soft hyphen": "co\u00adop\u00ader\u00ada\u00adtion",
    "replacement character": "damaged \ufffd text \ufffd\ufffd",
    "private use": "icon \ue000\uf8ff font",
    "unassigned and tags": "tag \U000e0041\U000e007f and \U0003fffd",
    # What the tokeniser itself uses
    "special tokens": "[CLS] a text [SEP] another [MASK] [PAD] [UNK] end",
    "special tokens glued": "a[MASK]b [cls] <s></s> [unused1]",
    "word pieces": "##ing the ##ed ## end",
    # Numbers, code, markup
    "numbers": "1234567890 3.14159 -42 1e-9 1,000,000 0x1F 12:30 2024-02-29 +49 30 123456",
    "url": "See https://example.org/a/b-c_d.html?q=caf%C3%A9&lang=de#part-2 for more",
    "mail and handles": "Write to jane.doe+test@example.com or @jane_doe #bi-encoder",
    "path": r"C:\Program Files\app\run.exe --all > /dev/null 2>&1",
    "python": "def add(a: int, b: int = 2) -> int:\n    '''Sum.'''\n    return a + b  # done",
    "c": '#include <stdio.h>\nint main(void) { for (int i = 0; i < 3; ++i) printf("%d\\n", i); }',
    "sql": "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name HAVING COUNT(*) > 1;",
    "json": '{"id": 17, "tags": ["a", "b"], "nested": {"ok": true, "none": null}}',
    "html": '<div class="note"><p>Read <a href="/x">this</a>&nbsp;&amp; that</p><!-- no --></div>',
    "markdown": "# Title\n\n- *one*\n- **two** `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "latex": r"\frac{1}{n}\sum_{i=1}^{n} x_i^2 \leq \left\| x \right\|_\infty",
    "base64": "TWluaXNiZXJ0IHJlYWRzIHRoaXMgYXMgcGllY2VzIG9mIG5vdGhpbmcu==",
    # Sentences
    "sentence": "A man is playing a guitar on the stage in front of a large crowd.",
    "negated": "A man is not playing a guitar on the stage in front of a large crowd.",
    "question": "How do I read a comma separated file in Python?",
    "technical": "The gradient of the loss is propagated backwards through the attention layer.",
    "long sentence": (
        "When the committee met again in the autumn, after a summer in which nobody had expected "
        "the figures to improve, it turned out that the harvest, the railways and even the "
        "notoriously late post had done far better than the gloomiest of its members had feared."
    ),
    # Lengths: the longest that is read has 256 tokens
    "3 tokens": write_words(3),
    "4 tokens": write_words(4),
    "128 tokens": write_words(128),
    "129 tokens": write_words(129),
    "242 tokens": write_words(242),
    "255 tokens": write_words(255),
    "256 tokens": write_words(256),
    "257 tokens": write_words(257),
    "600 tokens": write_words(600),
    "2000 tokens": write_words(2000),
    "cut inside a word": write_words(255) + " electroencephalographically",
    "word of 100 letters": "abcdefghij" * 10,
    "word of 101 letters": "abcdefghij" * 10 + "k",
    "word of 5000 letters": "such a w" + "o" * 5000 + "rd is not read",
    "long chinese": "我们在山上看见了很多美丽的花。" * 30,
    "many emoji": "😀 " * 300,
}


def main(directory: Path) -> None:
    torch.set_num_threads(1)
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    vectors = np.stack([model.encode(text) for text in TEXTS.values()])

    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for name, text in TEXTS.items():
        count = len(tokenizer.encode(text).ids)
        assert re.sub(r"^\d+ tokens$", f"{count} tokens", name) == name, f"{name}: {count} tokens"

    weights = (directory / "model.safetensors").read_bytes()
    metadata = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "model": "all-MiniLM-L6-v2",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    for package in (sentence_transformers, transformers, tokenizers, torch, safetensors, np):
        metadata[package.__name__] = package.__version__
    (HERE / "texts.json").write_text(json.dumps(TEXTS, indent=0) + "\n", "utf-8")
    save_file({"vectors": vectors}, HERE / "vectors.safetensors", metadata)
    print(f"{len(TEXTS)} texts, {vectors.shape[1]} dimensions, {metadata}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
