"""Write the golden logits of pairs: what transformers makes of two small random classifiers.

Run from the project's folder in an environment with transformers:

    PYTHONPATH=.:tests python tests/golden/make_golden_pairs.py

pairs.json holds the pairs, the logits by number of labels, and a digest of the weights that
`tests/models.py` makes from a seed. Each pair goes through the network alone.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

from models import WORDS, make_cross_encoder_directory

rng = np.random.default_rng(5)
words = [word for word in WORDS.split() if word.isalpha()]
# From empty to 50 words: with three special tokens many are beyond the limit of 64.
pairs = [("", ""), ("a", ""), ("", "b"), ("a bird .", "a Bird!")] + [
    tuple(" ".join(rng.choice(words, rng.integers(0, 51))) for _ in range(2)) for _ in range(36)
]
content = {"pairs": pairs, "weights_sha256": {}, "logits": {}}
for labels in (1, 3):
    with tempfile.TemporaryDirectory() as folder:
        directory = make_cross_encoder_directory(Path(folder), num_labels=labels)
        model = transformers.BertForSequenceClassification.from_pretrained(directory).eval()
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(directory / "tokenizer.json"), pad_token="[PAD]"
        )
        weights = (directory / "model.safetensors").read_bytes()
    content["weights_sha256"][labels] = hashlib.sha256(weights).hexdigest()
    rows = []
    for pair in pairs:
        inputs = tokenizer(
            [pair],
            truncation="longest_first",
            max_length=64,
            padding=False,
            return_token_type_ids=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            rows.append([round(value, 8) for value in model(**inputs).logits[0].tolist()])
    content["logits"][labels] = rows
content["versions"] = f"transformers {transformers.__version__}, torch {torch.__version__}"
path = Path(__file__).with_name("pairs.json")
path.write_text(json.dumps(content, indent=0) + "\n", "utf-8")
