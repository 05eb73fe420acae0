"""`stylepack studio`: a local web page for mixing packs with sliders."""
