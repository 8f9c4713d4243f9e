/// Paths, names and excerpts come from whoever made a model or a text: nowhere may they be markup.
extension VerificationReport {
  /// Text for one line: control characters, which could move a terminal's cursor, are shown as their numbers.
  static func plain(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      let isUnseen = [.control, .format, .lineSeparator, .paragraphSeparator].contains(
        scalar.properties.generalCategory)
      if isUnseen || scalar.properties.isNoncharacterCodePoint {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// `plain`, with line ends and tabs as signs: an excerpt is a few lines of text.
  static func flowing(_ text: String) -> String {
    plain(text.replacing("\r\n", with: " ↵ ").replacing("\n", with: " ↵ ").replacing("\t", with: " ⇥ "))
  }

  /// Text inside a Markdown table cell: nothing in it is markup.
  static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in plain(text).unicodeScalars {
      switch scalar {
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "&": result += "&amp;"
      case "|", "*", "_", "`", "[", "]", "\\", "~", "#", "!": result += "\\\(scalar)"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// Text inside an XML attribute or element; characters that XML 1.0 cannot hold become U+FFFD.
  static func xml(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "&": result += "&amp;"
      case "\"": result += "&quot;"
      case "\t", "\n", "\r": result += "&#\(scalar.value);"
      case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF: result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
