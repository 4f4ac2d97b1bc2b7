"""Checks before a release: built packages (`make test-wheel`) and licences of dependencies (`make licences`)."""
