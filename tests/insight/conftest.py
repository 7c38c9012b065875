import pytest

from tests.insight import asked
from tests.model import small


@pytest.fixture(params=asked.CONFIGS)
def cfg(request):
    return asked.CONFIGS[request.param]


@pytest.fixture
def params(cfg):
    return small.noisy(cfg)
