"""A KServe v2 inference server: HTTP and gRPC in one process, one model, answers that name their pod and version."""
