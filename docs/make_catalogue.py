"""Write docs/catalogue.md, docs/tasks.md and their pictures: `python docs/make_catalogue.py` (minutes)."""

from pathlib import Path

from attnkit.experiment import catalogue_page, catalogue_pictures, tasks_page

if __name__ == "__main__":
    docs = Path(__file__).parent
    tasks, pictures = tasks_page.page(docs.parent / "configs")
    files = {"catalogue.md": catalogue_page.page(), "tasks.md": tasks}
    files |= {f"pictures/masks/{name}": made for name, made in catalogue_page.masks().items()}
    files |= {f"pictures/catalogue/{name}": made for name, made in catalogue_pictures.sheets()}
    made = {name: text.encode() for name, text in files.items()}
    made |= {f"pictures/tasks/{name}": data for name, data in pictures.items()}
    for name, data in made.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_bytes(data)
    print(f"wrote {len(made)} files in {docs}")
