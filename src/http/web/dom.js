// The document: finding elements and making new ones.

const byId = (id) => document.getElementById(id);

/** An element whose text is never parsed as HTML. */
function element(name, className = "", text = "") {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}
