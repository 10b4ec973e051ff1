"""Our own components keep the contract, tested as anyone tests theirs."""

from zoo.testing import contract_tests

TestContract = contract_tests("autoencoder-zoo")
