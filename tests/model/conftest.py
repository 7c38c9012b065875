import pytest

from tests.model import small


@pytest.fixture(params=small.CONFIGS)
def cfg(request):
    return small.CONFIGS[request.param]


@pytest.fixture
def params(cfg):
    return small.noisy(cfg)
