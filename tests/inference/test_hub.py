"""Addresses of models on a hub."""

import pytest

from cvae_jax.inference import hub
from cvae_jax.runtime import libraries
from cvae_jax.runtime.errors import InputError


@pytest.mark.parametrize('text', ['hf://', 'hf://digits', 'hf://a/b/c', 'hf://a/b@', 'hf://a /b'])
def test_other_addresses_are_refused(text):
  with pytest.raises(InputError, match='hf://owner/name'):
    hub.Address.of(text)


def test_an_address_has_an_owner_a_name_and_perhaps_a_revision():
  assert hub.Address.of('hf://me/my-model.v2') == ('me', 'my-model.v2', None)
  assert hub.Address.of('hf://me/digits@refs/pr/1') == ('me', 'digits', 'refs/pr/1')


def test_without_the_library_a_line_says_what_to_install(monkeypatch):
  monkeypatch.setattr(libraries, 'installed', lambda *names: 'huggingface_hub' not in names)
  with pytest.raises(InputError, match='pip install huggingface_hub'):
    hub.fetch(hub.Address.of('hf://me/digits'))
