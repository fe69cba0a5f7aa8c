"""The traps that ports of sentence-transformers fall into, with a named test for each.

The table names the tests in other files; the other tests are below. Traps 3, 5, 7 and 12 can't
occur on ragged batches, which have no padding: their tests check that.

   1  tokenizer.json cuts at 128 tokens, the model reads 256
      test_tokenization.test_minilm_reads_beyond_128_tokens
   2  tokenizer.json pads everything to 128 tokens
      test_tokenization.test_stored_padding_is_dropped
   3  padding takes part in attention or pooling
      test_bert.test_ragged_equals_padded
   4  the mean leaves out special tokens
      test_encoder.test_no_blocks_average_the_word_vectors
   6  mean_sqrt_len and weightedmean weighted wrongly
      test_pooling.test_pooling_by_hand
   8  no segment ids, so no segment vector
      test_families.test_tokenizer_without_types_on_a_network_with_segments
   9  RoBERTa's positions start at 0
      test_families.test_rows_before_the_first_position
  10  the tanh form of GELU
      test_activations.test_gelu_is_the_error_function_form_everywhere
  11  sample variance, epsilon outside the root
      test_layers.test_layer_norm_uses_population_variance_and_epsilon_inside_the_root
  13  Linear weights taken as (in, out)
      test_layers.test_linear_multiplies_by_out_in_weights
  14  do_lower_case left to the tokenizer
      test_tokenization.test_do_lower_case
  16  a Dense module after the pooling forgotten
      test_encoder.test_modules_after_pooling_are_run
  17  a cross-encoder's logits taken for probabilities, or the reverse
      test_cross_encoder.test_directory_names_the_activation
  18  ranking by sigmoids that are all 1.0
      test_cross_encoder.test_rank_is_by_logits
  19  int8 ranges taken from the one text that is encoded
      test_finishing.test_one_text_gives_no_ranges
  20  int8 codes beyond the ranges wrap around
      test_quantization.test_values_beyond_the_ranges_are_clipped
  21  ties and NaN in any order
      test_topk.test_order_is_total
  22  a tokenizer that is reconfigured in each call fails in threads
      test_tokenization.test_sixteen_threads_share_one_tokenizer
  23  an overlong text takes the tokenizer's memory and time
      test_tokenization.test_megabyte_of_text
 24b  a flat list of two texts taken for two pairs
      test_cross_encoder.test_what_is_no_pair_is_named
  25  layers numbered by one digit
      test_configs.test_twelve_blocks_are_twelve
"""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from minisbert import SentenceTransformer
from minisbert.network import bert
from minisbert.network.matrices import as_matrix
from models import make_model_directory

TABLE = re.findall(r"^ +(\w+)  .+\n +(test_\w+)\.(test_\w+)$", __doc__, re.MULTILINE)
TEXTS = ["", "a bird", "the old bird sings all day in the tree"]


def read_tests(module: str) -> set[str]:
    """The names of a file's test functions."""
    source = next(Path(__file__).parent.rglob(f"{module}.py")).read_text("utf-8")
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("trap", "module", "test"), TABLE)
def test_tests_of_the_table_exist(trap, module, test):
    """Every test that the table names is there."""
    assert test in read_tests(module)


def test_every_trap_has_a_test():
    """Traps 1 to 25, and 24b, are in the table or have a test in this file."""
    here = re.findall(r"test_trap_0?(\w+?)_", " ".join(read_tests("test_traps")))
    assert {*here, *(trap for trap, *_ in TABLE)} == {*map(str, range(1, 26)), "24b"}


def test_trap_05_padding_does_not_win_the_max(tmp_path):
    """A short text keeps its negative features under max pooling beside a long one."""
    model = SentenceTransformer(make_model_directory(tmp_path, pooling=("max",), normalize=False))
    together = model.encode(TEXTS)
    tokens = model.encode(TEXTS, output_value="token_embeddings")
    largest = np.stack([rows.max(axis=0) for rows in tokens])
    assert together == pytest.approx(largest, abs=1e-6)
    assert (together[0] < 0).any()


@pytest.mark.parametrize("mode", ["lasttoken", "cls"])
def test_trap_07_the_last_and_the_first_token_are_the_texts_own(tmp_path, mode):
    """In a batch of several lengths each text gives its own last or first vector."""
    model = SentenceTransformer(make_model_directory(tmp_path, pooling=(mode,), normalize=False))
    tokens = model.encode(TEXTS, output_value="token_embeddings")
    expected = np.stack([rows[-1 if mode == "lasttoken" else 0] for rows in tokens])
    assert model.encode(TEXTS) == pytest.approx(expected, abs=1e-6)


def test_trap_12_no_text_is_without_tokens(tiny):
    """The shortest text has its two special tokens, so that no softmax is over zero tokens."""
    texts = ["", " ", "\n", "\u200b", "\x00"]
    assert tiny.token_lengths(texts).min() == 2
    assert np.isfinite(tiny.encode(texts)).all()


def test_trap_15_vectors_are_not_scaled_unless_the_model_says_so(tmp_path):
    """Without a Normalize module embeddings keep their length, unless it is asked for."""
    model = SentenceTransformer(make_model_directory(tmp_path, normalize=False))
    lengths = np.linalg.norm(model.encode(TEXTS), axis=1)
    assert (np.abs(lengths - 1) > 0.1).all()
    scaled = model.encode(TEXTS, normalize_embeddings=True)
    assert np.linalg.norm(scaled, axis=1) == pytest.approx(1, abs=1e-6)


def test_trap_24_products_are_of_matrices(tiny, monkeypatch):
    """Every linear layer is one product of two matrices, not of stacks of them, which is slower."""
    shapes = []

    class WatchedMatrix:
        def __init__(self, weight):
            self.weight = as_matrix(weight)

        def multiply(self, x, *others, **options):
            shapes.append(x.ndim)
            return self.weight.multiply(x, *others, **options)

    monkeypatch.setattr(bert, "as_matrix", WatchedMatrix)
    tiny.encode(TEXTS, threads=1)
    assert set(shapes) == {2}
