import pytest

from tests.insight import asked
from tests.model import small

# Compiling is what takes time here, so `make prove` takes the model that has less to go wrong.
NAMES = ["modern", pytest.param("gpt2", marks=pytest.mark.prove)]


@pytest.fixture(params=NAMES)
def cfg(request):
    return asked.CONFIGS[request.param]


@pytest.fixture
def params(cfg):
    return small.noisy(cfg)
