"""The one Ray seam: no file outside this folder imports ray. It stays empty, as every actor imports it."""
