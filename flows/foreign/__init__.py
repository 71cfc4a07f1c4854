"""Settings and folders of other programs (NVIDIA's workflow, nvdiffrec) read as requests and captures of ours."""
