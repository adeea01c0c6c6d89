"""Writes the routes of docs/reference/openapi.yaml as Markdown, for scripts/reference."""

import json

# These answer like GET, and OPTIONS is the same for all paths: one line for each is enough.
BRIEF = ("head", "options")
METHODS = ("post", "get", "delete", *BRIEF)
# The type of a schema without one.
ANY = "any JSON value"


def paragraphs(text):
    return text.strip()


def line(text):
    """A description on one line."""
    return " ".join(text.split())


class Page:
    def __init__(self, description):
        self.description = description
        self.parts = []

    def resolved(self, value):
        """What a `$ref` refers to; other values as they are."""
        while "$ref" in value:
            target = self.description
            for name in value["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            value = target
        return value

    def add(self, *texts):
        self.parts += [text for text in texts if text]

    def type_of(self, schema):
        """A schema in a few words."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            resolved = self.resolved(schema)
            return f"[{name}](#{name.lower()})" if self.is_listed(resolved) else self.type_of(resolved)
        for key in ("oneOf", "anyOf"):
            if key in schema:
                return " or ".join(self.type_of(each) for each in schema[key])
        if "const" in schema:
            return f"`{schema['const']}`"
        if "enum" in schema:
            return " or ".join(f"`{each}`" for each in schema["enum"])
        kind = schema.get("type", ANY)
        if kind == "array":
            return f"array of {self.type_of(schema['items'])}"
        kinds = " or ".join(kind) if isinstance(kind, list) else kind
        if "minimum" in schema and "maximum" in schema:
            return f"{kinds} from {schema['minimum']} to {schema['maximum']}"
        return kinds

    def is_listed(self, schema):
        """Whether a schema has a section of its own: one with members, or with rules that a type cannot express."""
        return schema.get("type") in ("object", "array") or "pattern" in schema

    def members(self, schema):
        required = schema.get("required", [])
        for name, value in schema.get("properties", {}).items():
            # What has a section of its own is described there.
            described = value if "$ref" not in value or self.is_listed(self.resolved(value)) else self.resolved(value)
            text = described.get("description", "")
            notes = [self.type_of(value)] if self.type_of(value) != ANY else []
            notes += [] if name in required else ["optional"]
            yield f"- `{name}`" + (f" ({', '.join(notes)})" if notes else "") + (f": {self.item(text)}" if text else "")

    def item(self, text):
        """A description inside a list. A list in it is indented, by four spaces for the site."""
        return text.strip().replace("\n", "\n    ").replace("\n    \n", "\n\n") if "\n- " in text else line(text)

    def parameters(self, operation, item):
        found = [self.resolved(each) for each in [*item.get("parameters", []), *operation.get("parameters", [])]]
        if found:
            self.add("**Parameters**")
            rows = []
            for each in found:
                place = f"{each['in']}, {self.type_of(each['schema'])}"
                rows.append(f"- `{each['name']}` ({place}): {line(each['description'])}")
            self.add("\n".join(rows))

    def examples(self, media_type, media):
        for example in media.get("examples", {}).values():
            self.add(line(example["summary"]))
            value = example["value"]
            if media_type == "application/x-ndjson":
                self.add("```text\n" + "\n".join(json.dumps(each) for each in value) + "\n```")
            elif media_type == "text/event-stream":
                fields = "".join(f"{name}: {text}\n" for name, text in value.items())
                self.add(f"```text\n{fields}\n```")
            else:
                self.add(f"```json\n{json.dumps(value, ensure_ascii=False)}\n```")

    def body(self, operation):
        if "requestBody" not in operation:
            return
        body = operation["requestBody"]
        self.add(f"**Body**: {line(body['description'])}")
        for media_type, media in body["content"].items():
            self.add(f"`{media_type}`: {self.type_of(media['schema'])}")
            self.examples(media_type, media)

    def responses(self, operation, common):
        successes = [(status, self.resolved(each)) for status, each in operation["responses"].items() if status < "300"]
        errors = [f"[{status}](#status-{status})" for status in operation["responses"] if status >= "300" and status not in common]
        for status, response in successes:
            text = f"**{status}**: {line(response['description'])}"
            headers = [f"`{name}`" for name in response.get("headers", {}) if not name.startswith("Access-Control-")]
            if headers:
                text += f" Headers: {', '.join(headers)}."
            self.add(text)
            for media_type, media in response.get("content", {}).items():
                if "examples" in media:
                    self.add(f"`{media_type}`: {self.type_of(media['schema'])}")
                    self.examples(media_type, media)
        of_all = "[those of every route](#errors-of-every-route)"
        self.add(f"**Errors**: {', '.join(errors)} and {of_all}." if errors else f"**Errors**: {of_all}.")

    def security(self, operation):
        names = [name for each in operation["security"] for name in each]
        if not names:
            return
        right = "publish" if operation["operationId"] in ("publish", "deleteHistory") else "subscribe"
        self.add(f"Needs the permission `{right}`, unless the node is open. See [Tokens](#tokens).")

    def operations(self):
        for path, item in self.description["paths"].items():
            for method in METHODS:
                if method in item:
                    yield path, method, item, item[method]

    def routes(self):
        common = set.intersection(*({status for status in each["responses"] if status >= "400"} for *_, each in self.operations()))
        for path, method, item, operation in self.operations():
            if method in BRIEF:
                continue
            self.add(f"## {operation['summary'].rstrip('.')}", f"```text\n{method.upper()} {path}\n```")
            self.add(paragraphs(operation["description"]))
            self.security(operation)
            self.parameters(operation, item)
            self.body(operation)
            self.responses(operation, common)
        self.add("## HEAD and OPTIONS")
        self.add("Every path accepts both.")
        rows = [
            f"- `{method.upper()} {path}`: {line(operation.get('description') or operation['summary'])}"
            for path, method, _, operation in self.operations()
            if method == "head"
        ]
        options = next(operation for _, method, _, operation in self.operations() if method == "options")
        rows.append(f"- `OPTIONS`, on each path: {line(options['description'])}")
        self.add("\n".join(rows))
        response = self.resolved(options["responses"]["204"])
        self.add("`OPTIONS` answers 204 with these headers:")
        headers = ((name, self.resolved(header)) for name, header in response["headers"].items())
        self.add("\n".join(f"- `{name}`: {line(header['description'])}" for name, header in headers))
        return common

    def tokens(self):
        self.add("## Tokens")
        schemes = self.description["components"]["securitySchemes"].values()
        self.add("\n".join(f"- {line(scheme['description'])}" for scheme in schemes))

    def statuses(self, common):
        responses = {}
        for *_, operation in self.operations():
            for status, response in operation["responses"].items():
                if status >= "400":
                    responses[status] = self.resolved(response)
        for title, statuses in (
            ("Errors of every route", sorted(common)),
            ("Errors of some routes", sorted(set(responses) - common)),
        ):
            self.add(f"## {title}")
            for status in statuses:
                response = responses[status]
                self.add(f"<a id=\"status-{status}\"></a>**{status}**: {line(response['description'])}")
                for name, header in response.get("headers", {}).items():
                    self.add(f"`{name}`: {line(self.resolved(header)['description'])}")
                for example in response["content"]["application/problem+json"].get("examples", {}).values():
                    self.add(f"```json\n{json.dumps(example['value'])}\n```")

    def schemas(self):
        self.add("## Data")
        for name, schema in self.description["components"]["schemas"].items():
            if not self.is_listed(schema):
                continue
            self.add(f"### {name}", paragraphs(schema["description"]))
            self.add("\n".join(self.members(schema)))
            if schema.get("type") == "array":
                self.add(f"{schema['minItems']} to {schema['maxItems']:,} of {self.type_of(schema['items'])}.")

    def text(self):
        common = self.routes()
        self.tokens()
        self.statuses(common)
        self.schemas()
        return "\n\n".join(self.parts) + "\n"


def page(description):
    return Page(description).text()
