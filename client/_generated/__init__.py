"""gRPC stubs of TorchServe, written by ``python -m client generate``; not edited by hand."""
