"""The sources of data, one module or group of modules each."""
