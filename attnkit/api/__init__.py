"""The public interface: `import attnkit as ak` shows its names, and imports each when it is first used."""
