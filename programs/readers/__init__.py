"""Programs written in other dialects of RASP."""
