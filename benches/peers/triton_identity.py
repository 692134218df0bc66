"""The model `identity` for Triton's Python backend: what comes goes back."""

import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensor = triton.get_input_tensor_by_name(request, "input")
        return triton.InferenceResponse([triton.Tensor("output", tensor.as_numpy())])
