"""The interfaces as documents: OpenAPI 3.1 for REST; gRPC is ``client/protos``."""
