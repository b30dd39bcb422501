"""The places that data comes from, one module or group of modules each."""
