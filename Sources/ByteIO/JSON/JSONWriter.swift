/// How a document is laid out on the page.
public enum JSONLayout: Sendable {
  /// No white space at all.
  case compact
  /// Two spaces per level, a final newline, as Python's `json.dump(indent=2)` writes; keys in their own order.
  case indented
}

extension JSONValue {
  /// The document as text. Strings are escaped minimally, as serde_json and Python (without `ensure_ascii`) do: the
  /// quote, the backslash and the characters below U+0020, with the short forms where there are any.
  public func serialized(_ layout: JSONLayout = .indented) -> String {
    var text = ""
    write(to: &text, layout: layout, level: 0)
    if layout == .indented { text += "\n" }
    return text
  }

  private func write(to text: inout String, layout: JSONLayout, level: Int) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .number(let number): text += number.text
    case .string(let string): Self.write(string, to: &text)
    case .array(let elements):
      Self.writeList(elements, "[", "]", to: &text, layout: layout, level: level) { element, text in
        element.write(to: &text, layout: layout, level: level + 1)
      }
    case .object(let object):
      Self.writeList(object.members, "{", "}", to: &text, layout: layout, level: level) { member, text in
        Self.write(member.key, to: &text)
        text += layout == .compact ? ":" : ": "
        member.value.write(to: &text, layout: layout, level: level + 1)
      }
    }
  }

  private static func writeList<Element>(
    _ elements: [Element], _ open: String, _ close: String, to text: inout String, layout: JSONLayout, level: Int,
    each: (Element, inout String) -> Void
  ) {
    text += open
    for (index, element) in elements.enumerated() {
      if index > 0 { text += "," }
      if layout == .indented { text += "\n" + String(repeating: "  ", count: level + 1) }
      each(element, &text)
    }
    if layout == .indented && !elements.isEmpty { text += "\n" + String(repeating: "  ", count: level) }
    text += close
  }

  private static func write(_ string: String, to text: inout String) {
    text += "\""
    defer { text += "\"" }
    if string.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
      text += string
      return
    }
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case "\u{08}": text += "\\b"
      case "\u{0C}": text += "\\f"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
  }
}
