"""Write docs/catalogue.md from the cards: `python docs/make_catalogue.py`."""

from pathlib import Path

from attnkit.experiment.catalogue_page import page

if __name__ == "__main__":
    place = Path(__file__).with_name("catalogue.md")
    place.write_text(page(), encoding="utf-8")
    print(f"wrote {place}")
