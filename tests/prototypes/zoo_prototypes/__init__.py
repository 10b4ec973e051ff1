"""Methods that the contract must fit, written as a third party would, until the plugins of the zoo replace them."""
