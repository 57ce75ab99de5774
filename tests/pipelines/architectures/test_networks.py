import numpy as np
import pytest
import torch

from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from pipelines.architectures.networks import SQUASH
from pipelines.architectures.recurrent import LSTM
from registry.errors import FitError, ShapeError, ValueRangeError
from registry.flavors.programs import open_program

pytestmark = pytest.mark.xdist_group("torch")  # its compiler takes seconds to import

SHORT = {"epochs": 1, "hidden": 4, "batch_size": 64}


def rows(n=300, scale=1.0, shift=0.0):
    rng = np.random.default_rng(0)
    X = (shift + scale * rng.standard_normal((n, 3, 2))).astype(np.float32)
    return TrainingRows(X, rng.gamma(3.0, 1.0, n), np.ones(n))


def state(estimator):
    return open_program(estimator.native().payload).state_dict


def test_standardisation_is_fitted_on_the_training_rows_and_lives_in_the_native_model():
    data = rows(scale=0.02, shift=7.0)
    found = state(LSTM.fit(data, Objective("gamma"), SHORT, 0))
    newest = data.X[:267, -1].astype(np.float64)  # 300 less 30 for validation less 3 of gap
    np.testing.assert_allclose(found["scaling.mean"], newest.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["scaling.inverse_scale"], 1 / newest.std(axis=0), rtol=1e-5)


def test_a_constant_feature_keeps_its_scale():
    data = rows()
    data.X[:, :, 1] = 0.1
    assert state(LSTM.fit(data, Objective("gamma"), SHORT, 0))["scaling.inverse_scale"][1] == 1.0


def test_the_unit_of_a_feature_does_not_change_the_scores():
    plain, scaled = rows(), rows(scale=1024.0)
    scores = [LSTM.fit(d, Objective("gamma"), SHORT, 0).predict(d.X) for d in (plain, scaled)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


def test_inputs_far_outside_the_training_range_saturate():
    data = rows()
    estimator = LSTM.fit(data, Objective("gamma"), SHORT, 0)
    far = np.full((1, 3, 2), 100 * SQUASH, np.float32)
    np.testing.assert_allclose(estimator.predict(far), estimator.predict(far * 1e30), atol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "tcn", "transformer"])
def test_the_order_of_the_steps_matters(name):
    data = rows()
    estimator = ARCHITECTURES.get(name).fit(data, Objective("gamma"), SHORT, 0)
    backwards = np.ascontiguousarray(data.X[:, ::-1])
    assert np.abs(estimator.predict(data.X) - estimator.predict(backwards)).max() > 1e-4


def test_an_untrained_network_starts_from_the_constant_forecast():
    data = rows()
    still = SHORT | {"learning_rate": 1e-6, "weight_decay": 0.0}
    scores = LSTM.fit(data, Objective("gamma"), still, 0).predict(data.X)
    assert abs(scores.mean() - np.log(data.y[:267].mean())) < 1.0


def test_another_seed_gives_other_weights():
    data = rows()
    scores = [LSTM.fit(data, Objective("gamma"), SHORT, s).predict(data.X) for s in (0, 1)]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4


def test_fitting_leaves_torchs_global_state_alone():
    before = torch.random.get_rng_state(), torch.get_num_threads()
    LSTM.fit(rows(), Objective("gamma"), SHORT | {"nthread": 1}, 0)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_rows_without_a_window_are_refused():
    flat = TrainingRows(np.zeros((200, 2), np.float32), np.ones(200), np.ones(200))
    with pytest.raises(ShapeError, match=r"window of at least 2 but got \(200, 2\)"):
        LSTM.fit(flat, Objective("squared"), SHORT, 0)


def test_a_missing_value_is_refused():
    data = rows()
    data.X[5, 1, 0] = np.nan
    with pytest.raises(ValueRangeError, match="training features: expected finite"):
        LSTM.fit(data, Objective("gamma"), SHORT, 0)


def test_too_few_rows_are_refused():
    with pytest.raises(FitError, match="40 rows, 64 needed"):
        LSTM.fit(rows(40), Objective("gamma"), SHORT, 0)


def test_a_diverging_fit_stops_with_what_to_do():
    data = rows()
    wild = TrainingRows(data.X, data.y * 1e30, data.weight)
    with pytest.raises(FitError, match=r"the loss is (nan|inf) after epoch \d.*learning_rate"):
        LSTM.fit(wild, Objective("squared"), SHORT, 0)


def test_windows_for_a_network_over_rows_are_refused():
    with pytest.raises(ShapeError, match=r"mlp rows.*window=1"):
        ARCHITECTURES.get("mlp").fit(rows(), Objective("gamma"), SHORT, 0)
