"""The trainings of compare_train.py in torch, as a user of torch writes them.

One padded pass for all columns of a batch, fused AdamW, gradients clipped at 1, and the shuffles,
the schedule and the weight decay of minisbert.
"""

import math
import warnings

import numpy as np

from corpora import pad

NO_DECAY = ("bias", "LayerNorm.weight")


class TorchTraining:
    """A network, its optimizer, and tokenized examples."""

    def __init__(self, directory, task, examples, seed, threads, attention="sdpa") -> None:
        import torch
        import transformers

        from minisbert.encoding.tokenization import Tokenizer

        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.torch, self.functional = torch, torch.nn.functional
        self.task, self.seed, self.labels = task, seed, examples.labels
        options = {"attn_implementation": attention}
        tokenizer = Tokenizer(directory)
        if task.cross_encoder:
            network = transformers.BertForSequenceClassification
            options |= {"num_labels": len(examples.classes) or 1, "ignore_mismatched_sizes": True}
            pairs = list(zip(*examples.texts, strict=True))
            tokens = tokenizer.encode_pairs(pairs, task.max_length)
            self.ids, self.types = [tokens.ids], tokens.types
        else:
            network = transformers.BertModel
            options |= {"add_pooling_layer": False}
            self.ids = [tokenizer.encode(c, task.max_length).ids for c in examples.texts]
        self.model = network.from_pretrained(directory, **options).train()
        if task.objective == "softmax":
            self.model.objective = torch.nn.Module()  # minisbert's name of the parameters
            width = 3 * self.model.config.hidden_size
            self.model.objective.classifier = torch.nn.Linear(width, len(examples.classes))
        named = list(self.model.named_parameters())
        self.n = len(self.ids[0])
        self.per_epoch = -(-self.n // task.batch_size)
        self.steps, self.done = task.epochs * self.per_epoch, 0
        warmup = math.ceil(0.1 * self.steps)
        self.parameters = [p for _, p in named]
        decayed = [p for name, p in named if not name.endswith(NO_DECAY)]
        others = [p for name, p in named if name.endswith(NO_DECAY)]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=2e-5, weight_decay=0.01, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda t: t / warmup if t < warmup else (self.steps - t) / (self.steps - warmup),
        )

    def compute_loss(self, rows: np.ndarray):
        """Return the loss of the examples in these rows."""
        torch, functional, objective = self.torch, self.functional, self.task.objective
        texts = [column[row] for column in self.ids for row in rows]
        ids = torch.from_numpy(pad(texts))
        mask = torch.from_numpy(pad([np.ones_like(text) for text in texts]))
        if self.labels is not None:
            kind = np.float32 if self.labels.dtype.kind == "f" else np.int64
            labels = torch.from_numpy(self.labels[rows].astype(kind))
        if self.task.cross_encoder:
            types = torch.from_numpy(pad([self.types[row] for row in rows]))
            logits = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
            if objective == "classes":
                return functional.cross_entropy(logits, labels)
            return functional.binary_cross_entropy_with_logits(logits[:, 0], labels)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].float()
        vectors = functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)
        u, v, *others = vectors.split(len(rows))
        if objective == "cosine":
            return functional.mse_loss(torch.cosine_similarity(u, v), labels)
        if objective == "softmax":
            features = torch.cat([u, v, (u - v).abs()], dim=1)
            return functional.cross_entropy(self.model.objective.classifier(features), labels)
        if objective == "ranking":
            u, v = functional.normalize(u, dim=1), functional.normalize(v, dim=1)
            return functional.cross_entropy(20 * u @ v.T, torch.arange(len(rows)))
        near, far = (u - v).norm(dim=1), (u - others[0]).norm(dim=1)
        return functional.relu(near - far + 1).mean()

    def choose_rows(self, step: int) -> np.ndarray:
        """Return the rows of a step's batch."""
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return order[place * self.task.batch_size :][: self.task.batch_size]

    def first_loss(self) -> float:
        """Return the loss of the first batch, before any step, without dropout."""
        self.model.eval()
        with self.torch.no_grad():
            loss = self.compute_loss(self.choose_rows(0)).item()
        self.model.train()
        return loss

    def step(self) -> float:
        loss = self.compute_loss(self.choose_rows(self.done))
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        return loss.item()

    def get_parameters(self) -> dict[str, np.ndarray]:
        """Return the parameters by minisbert's names."""
        named = self.model.named_parameters()
        return {name.removeprefix("bert."): p.detach().numpy() for name, p in named}
