// Addresses as this browser sees them, and the pipelines that it opened lately.

// A proxy may serve the node below a path.
const inPath = location.pathname.match(/^(.*)\/pipelines\/([^/]+)\/?$/);
const base = location.origin + (inPath ? inPath[1] : location.pathname.replace(/\/[^/]*$/, ""));
const urlOf = (name) => `${base}/pipelines/${name}`;

// Checks the name itself, which may come from a link: a field would drop line breaks first.
function isPipeline(name) {
  // "." and ".." cannot be used in a URL path.
  return /^[A-Za-z0-9._~-]{1,128}$/.test(name) && name !== "." && name !== "..";
}

/** The pipelines that this browser opened, newest first. The list stays in its storage: no request contains it. */
class Recent {
  static #MOST = 8;
  static #KEY = `pipecast.recent ${base}`;

  /** `{name, at}` each, `at` in milliseconds since 1970. */
  static list() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.#KEY)) ?? [];
      return kept.filter(({ name, at }) => isPipeline(name) && Number.isFinite(at)).slice(0, this.#MOST);
    } catch {
      return []; // no storage here, or not written by this page
    }
  }

  static add(name) {
    this.#keep([{ name, at: Date.now() }, ...this.list().filter((other) => other.name !== name)].slice(0, this.#MOST));
  }

  static clear() {
    this.#keep([]);
  }

  static #keep(pipelines) {
    try {
      if (pipelines.length) localStorage.setItem(this.#KEY, JSON.stringify(pipelines));
      else localStorage.removeItem(this.#KEY);
    } catch {
      // Storage is switched off or full: the list is only a convenience.
    }
  }
}
