"""The trainings of compare_train.py in torch, as a user of torch would write them.

One padded pass for all columns of a batch, fused AdamW, gradients clipped at 1, the same shuffles,
schedule and decay as minisbert's.
"""

from __future__ import annotations

import math
import warnings

import numpy as np


class TorchTraining:
    """A network, its optimiser, and tokenised examples."""

    def __init__(
        self, directory, task, examples, seed, threads, attention="sdpa", dropout=True
    ) -> None:
        import torch
        import transformers
        from torch.nn import functional

        from minisbert.encoding.tokenization import Tokenizer

        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.torch, self.functional = torch, functional
        self.task, self.seed = task, seed
        options = {"attn_implementation": attention}
        if task.cross_encoder:
            labels = len(examples.classes) or 1
            self.model = transformers.BertForSequenceClassification.from_pretrained(
                directory, num_labels=labels, ignore_mismatched_sizes=True, **options
            )
        else:
            self.model = transformers.BertModel.from_pretrained(
                directory, add_pooling_layer=False, **options
            )
        self.model.train(dropout)
        self.labels = examples.labels
        self.classifier = None
        if task.objective == "softmax":
            width = 3 * self.model.config.hidden_size
            self.classifier = torch.nn.Linear(width, len(examples.classes))
        tokenizer = Tokenizer(directory)
        self.types = None
        if task.cross_encoder:
            pairs = list(zip(*examples.texts, strict=True))
            tokens = tokenizer.encode_pairs(pairs, task.max_length)
            self.ids, self.types = [tokens.ids], tokens.types
        else:
            self.ids = [tokenizer.encode(c, task.max_length).ids for c in examples.texts]

        self.n = len(self.ids[0])
        self.per_epoch = -(-self.n // task.batch_size)
        self.steps = task.epochs * self.per_epoch
        warmup = math.ceil(0.1 * self.steps)
        named = list(self.model.named_parameters())
        if self.classifier:
            named += list(self.classifier.named_parameters())
        still = ("bias", "LayerNorm.weight")
        self.parameters = [p for _, p in named]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for n, p in named if not n.endswith(still)], "weight_decay": 0.01},
                {"params": [p for n, p in named if n.endswith(still)], "weight_decay": 0.0},
            ],
            lr=2e-5,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda t: t / warmup if t < warmup else (self.steps - t) / (self.steps - warmup),
        )
        self.done = 0
        self.tokens = 0

    def pad(self, rows):
        """Ids side by side, padded to the longest."""
        padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)] = ids
        return self.torch.from_numpy(padded)

    def compute_loss(self, rows):
        """The loss of the examples in these rows."""
        torch, functional = self.torch, self.functional
        texts = [column[row] for column in self.ids for row in rows]
        self.tokens += sum(map(len, texts))
        ids = self.pad(texts)
        lengths = torch.tensor([len(text) for text in texts])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        labels = None
        if self.labels is not None:
            kind = np.float32 if self.labels.dtype.kind == "f" else np.int64
            labels = torch.from_numpy(self.labels[rows].astype(kind))
        if self.task.cross_encoder:
            types = self.pad([self.types[row] for row in rows])
            logits = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
            if self.task.objective == "classes":
                return functional.cross_entropy(logits, labels)
            return functional.binary_cross_entropy_with_logits(logits[:, 0], labels)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].float()
        vectors = functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)
        columns = vectors.split(len(rows))
        if self.task.objective == "cosine":
            u, v = columns
            return functional.mse_loss(torch.cosine_similarity(u, v), labels)
        if self.task.objective == "softmax":
            u, v = columns
            features = torch.cat([u, v, (u - v).abs()], dim=1)
            return functional.cross_entropy(self.classifier(features), labels)
        if self.task.objective == "ranking":
            u, v = (functional.normalize(column, dim=1) for column in columns)
            return functional.cross_entropy(20 * u @ v.T, torch.arange(len(rows)))
        anchor, positive, negative = columns
        near, far = ((anchor - other).norm(dim=1) for other in (positive, negative))
        return functional.relu(near - far + 1).mean()

    def first_loss(self) -> float:
        """The loss of the first batch, before any step."""
        with self.torch.no_grad():
            return self.compute_loss(self.choose_rows(0)).item()

    def choose_rows(self, step: int):
        epoch, place = divmod(step, self.per_epoch)
        size = self.task.batch_size
        order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return order[place * size : (place + 1) * size]

    def step(self) -> float:
        loss = self.compute_loss(self.choose_rows(self.done))
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        return loss.item()

    def get_parameters(self) -> dict:
        """By the checkpoint's names, as NumPy arrays; the classifier's under minisbert's."""
        named = {name.removeprefix("bert."): p for name, p in self.model.named_parameters()}
        if self.classifier:
            for name, p in self.classifier.named_parameters():
                named[f"objective.classifier.{name}"] = p
        return {name: p.detach().numpy() for name, p in named.items()}
