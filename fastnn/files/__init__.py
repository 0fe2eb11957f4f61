"""Files: networks as safetensors."""
