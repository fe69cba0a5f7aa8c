"""minisbert's networks and objectives in torch: a padded BERT, losses as defined."""

import numpy as np
import torch
import transformers
from torch.func import functional_call

from minisbert.network.config import DenseConfig, NormalizeConfig, parameter_shapes
from minisbert.network.families import FAMILIES
from minisbert.network.heads import CrossEncoderConfig, head_shapes
from minisbert.training.objectives import CLASSIFIER

# So small are these networks that a second thread only waits, and is waited for.
torch.set_num_threads(1)

WEIGHT_BIAS = ("weight", "bias")


def to_unit(x):
    return x / x.norm(dim=1, keepdim=True)


def cross_entropy(logits, labels):
    return -torch.log_softmax(logits, dim=1)[torch.arange(len(labels)), labels].mean()


def cosine(columns, labels, parameters):
    u, v = map(to_unit, columns)
    return (((u * v).sum(dim=1) - labels) ** 2).mean()


PARTS = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "|u-v|": lambda u, v: (u - v).abs(),
    "u*v": lambda u, v: u * v,
}


def softmax(columns, labels, parameters, concatenation="u,v,|u-v|"):
    features = torch.cat([PARTS[part](*columns) for part in concatenation.split(",")], dim=1)
    logits = features @ parameters[f"{CLASSIFIER}.weight"].T + parameters[f"{CLASSIFIER}.bias"]
    return cross_entropy(logits, labels)


def triplet(columns, labels, parameters, margin=1.0):
    anchor, positive, negative = columns
    near, far = (anchor - positive).norm(dim=1), (anchor - negative).norm(dim=1)
    return torch.relu(near - far + margin).mean()


def ranking(columns, labels, parameters, scale=20.0):
    anchor, *others = map(to_unit, columns)
    return cross_entropy(scale * anchor @ torch.cat(others).T, torch.arange(len(anchor)))


def binary(columns, labels, parameters):
    logits = columns[0][:, 0]
    log_yes, log_no = torch.nn.functional.logsigmoid(torch.stack([logits, -logits]))
    return -(labels * log_yes + (1 - labels) * log_no).mean()


def classes(columns, labels, parameters):
    return cross_entropy(columns[0], labels)


LOSSES = {loss.__name__: loss for loss in (cosine, softmax, triplet, ranking, binary, classes)}


class TorchPeer:
    """The network of a minisbert model, with parameters of its own by minisbert's names."""

    def __init__(self, directory, config, parameters, objective, **options):
        self.config, self.objective, self.options = config, objective, options
        self.parameters = {
            name: torch.tensor(array, requires_grad=True) for name, array in parameters.items()
        }
        cross = isinstance(config, CrossEncoderConfig)
        sizes = transformers.AutoConfig.from_pretrained(
            directory,
            attn_implementation="eager",
            **({"num_labels": config.num_labels} if cross else {}),
        )
        auto = transformers.AutoModelForSequenceClassification if cross else transformers.AutoModel
        # Its own parameters serve only in a pooler, whose output nobody reads.
        dtype = next(iter(self.parameters.values())).dtype
        self.network = auto.from_config(sizes).to(dtype).eval()
        # Their names, and minisbert's.
        bert, prefix = config.bert, FAMILIES[config.bert.model_type].prefix if cross else ""
        self.names = {
            prefix + FAMILIES[bert.model_type].name_in_checkpoint(name): name
            for name in parameter_shapes(bert)
        }
        for name in head_shapes(config) if cross else ():
            self.names[(prefix if name.startswith("pooler.") else "") + name] = name

    def compute_loss(self, batch):
        """The loss of a minisbert.training.step.Batch, as a tensor."""
        texts = [text for column in batch.ids for text in column]
        types = [text for column in batch.types or [] for text in column]
        mask = pad([np.ones_like(text) for text in texts])
        outputs = functional_call(
            self.network,
            {theirs: self.parameters[ours] for theirs, ours in self.names.items()},
            kwargs={
                "input_ids": pad(texts),
                "attention_mask": mask,
                **({"token_type_ids": pad(types)} if types else {}),
            },
        )
        if isinstance(self.config, CrossEncoderConfig):
            vectors = outputs.logits
        else:
            vectors = self.apply_modules(outputs.last_hidden_state, mask[:, :, None])
        columns = vectors.split(len(batch.ids[0]))
        labels = None if batch.labels is None else torch.from_numpy(batch.labels)
        return LOSSES[self.objective](columns, labels, self.parameters, **self.options)

    def apply_modules(self, x, mask):
        """Pooling over the (B, T, 1) mask, and what follows it."""
        x = {
            "cls": lambda x: x[:, 0],
            "mean": lambda x: (x * mask).sum(dim=1) / mask.sum(dim=1),
            "max": lambda x: x.masked_fill(mask == 0, -torch.inf).max(dim=1).values,
        }[self.config.pooling.modes[0]](x)
        for module in self.config.modules:
            if isinstance(module, DenseConfig):
                weight, bias = (self.parameters[f"{module.path}.linear.{n}"] for n in WEIGHT_BIAS)
                x = torch.tanh(x @ weight.T + bias)
            elif isinstance(module, NormalizeConfig):
                x = to_unit(x)
        return x

    def differentiate(self, batch):
        """Write the gradients; return the loss."""
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = self.compute_loss(batch)
        loss.backward()
        return loss.item()


def pad(texts):
    """Ids side by side, 0 behind the shorter ones."""
    padded = np.zeros((len(texts), max(map(len, texts))), np.int64)
    for row, ids in enumerate(texts):
        padded[row, : len(ids)] = ids
    return torch.from_numpy(padded)
