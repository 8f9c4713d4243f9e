public import ByteIO
internal import Foundation
internal import Yams

extension Policy {
  /// A policy file has half a dozen lines.
  public static let maximumFileBytes = 16_384

  /// Reads a policy file: one flat mapping, as YAML or (when it starts with a brace) JSON.
  ///
  ///     name: fp8-strict              # letters, digits, '.', '_', '-'; at most 64
  ///     exact: false                  # true: no score may differ
  ///     maximum_ratio: 1.005          # perplexity, candidate / base
  ///     maximum_kld_mean: 0.002       # nats per token
  ///     maximum_kld_p99: 0.05         # nats
  ///     minimum_top1_agreement: 0.97  # share of tokens
  ///     minimum_top5_overlap: 0.95    # mean share of the five most likely tokens
  ///     maximum_position_ratio: 1.02  # perplexity ratio in each eighth of the window
  ///     maximum_layer_error: 0.05     # of the residual stream behind any layer, relative
  ///     minimum_tensor_sqnr_db: 25    # of any tensor
  ///     minimum_tokens: 20000
  ///
  /// `name` and at least one limit are required. Unknown and repeated keys are errors, as are YAML's anchors, aliases,
  /// tags and nesting, which a flat mapping does not need and an attacker might.
  /// - Throws: `ParseFailure` that names `file` and the key.
  public init(parsing bytes: [UInt8], file: String) throws(ParseFailure) {
    do throws(ParseFailure) {
      guard bytes.count <= Self.maximumFileBytes else {
        throw ParseFailure("\(bytes.count) bytes, a policy file has at most \(Self.maximumFileBytes)")
      }
      guard let text = String(validating: bytes, as: UTF8.self) else { throw ParseFailure("not UTF-8 text") }
      let isJSON = text.unicodeScalars.first { !" \t\r\n".unicodeScalars.contains($0) } == "{"
      let entries = isJSON ? try Self.jsonEntries(text) : try Self.yamlEntries(text)
      try self.init(entries)
    } catch {
      throw error.in(file: file)
    }
  }

  /// A scalar of the file, before its key gives it a type.
  private enum Entry {
    case text(String)
    case number(Double)
    case bool(Bool)
  }

  private init(_ entries: [(key: String, value: Entry)]) throws(ParseFailure) {
    var policy = Policy(name: "")
    var named = false
    for (key, value) in entries {
      guard let known = PolicyKey(rawValue: key) else {
        let all = PolicyKey.allCases.map(\.rawValue).joined(separator: ", ")
        throw ParseFailure("unknown key", item: Self.quoted(key), advice: "the keys are \(all)")
      }
      switch known {
      case .name:
        policy.name = try Self.name(value)
        named = true
      case .exact:
        guard case .bool(let exact) = value else {
          throw ParseFailure("expected true or false", item: known.rawValue)
        }
        policy.exact = exact
      case .maximumRatio: policy.maximumRatio = try Self.number(value, known, above: 0, through: 1e6)
      case .maximumKLDMean: policy.maximumKLDMean = try Self.number(value, known, from: 0, through: 1e6)
      case .maximumKLDP99: policy.maximumKLDP99 = try Self.number(value, known, from: 0, through: 1e6)
      case .minimumTop1Agreement: policy.minimumTop1Agreement = try Self.number(value, known, from: 0, through: 1)
      case .minimumTop5Overlap: policy.minimumTop5Overlap = try Self.number(value, known, from: 0, through: 1)
      case .maximumPositionRatio: policy.maximumPositionRatio = try Self.number(value, known, above: 0, through: 1e6)
      case .maximumLayerError: policy.maximumLayerError = try Self.number(value, known, from: 0, through: 1e6)
      case .minimumTensorSQNR: policy.minimumTensorSQNR = try Self.number(value, known, from: -1000, through: 1000)
      case .minimumTokens:
        let tokens = try Self.number(value, known, from: 1, through: 1e15)
        guard let count = Int(exactly: tokens) else {
          throw ParseFailure("\(tokens) is not a whole number", item: known.rawValue)
        }
        policy.minimumTokens = count
      }
    }
    guard named else { throw ParseFailure("no name", advice: "add a line such as \"name: fp8-strict\"") }
    guard policy.limits.contains(where: { $0.key != .minimumTokens }) else {
      throw ParseFailure("no limit is set, so every candidate would pass", advice: "set maximum_ratio, say")
    }
    self = policy
  }

  private static func name(_ value: Entry) throws(ParseFailure) -> String {
    guard case .text(let name) = value, (1...64).contains(name.utf8.count),
      name.utf8.allSatisfy({ byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
      })
    else { throw ParseFailure("expected 1 to 64 letters, digits, '.', '_' or '-'", item: "name") }
    return name
  }

  private static func number(
    _ value: Entry, _ key: PolicyKey, above exclusive: Double? = nil, from low: Double = 0, through high: Double
  ) throws(ParseFailure) -> Double {
    guard case .number(let number) = value else { throw ParseFailure("expected a number", item: key.rawValue) }
    guard number.isFinite, number >= low, number <= high, exclusive.map({ number > $0 }) ?? true else {
      let from = exclusive.map { "above \($0)" } ?? "from \(low)"
      throw ParseFailure("\(number) is out of range, expected a number \(from) to \(high)", item: key.rawValue)
    }
    return number
  }

  /// A name from the file, fit for a message: short and on one line.
  private static func quoted(_ text: String) -> String {
    let plain = String(String.UnicodeScalarView(text.unicodeScalars.prefix(60).map { $0.value < 0x20 ? "?" : $0 }))
    return "\"\(plain)\""
  }
}

// MARK: - The two notations

extension Policy {
  private static func jsonEntries(_ text: String) throws(ParseFailure) -> [(key: String, value: Entry)] {
    let document = try JSONValue(parsing: text, rules: JSONRules(maximumDepth: 2))
    guard let object = document.object else { throw ParseFailure("expected one object") }
    var entries: [(key: String, value: Entry)] = []
    for (key, value) in object.members {
      switch value {
      case .string(let text): entries.append((key, .text(text)))
      case .bool(let bool): entries.append((key, .bool(bool)))
      case .number(let number):
        guard let double = number.double else { throw ParseFailure("not a number", item: quoted(key)) }
        entries.append((key, .number(double)))
      case .null, .array, .object:
        throw ParseFailure("expected a number, a word or true or false", item: quoted(key))
      }
    }
    return entries
  }

  private static func yamlEntries(_ text: String) throws(ParseFailure) -> [(key: String, value: Entry)] {
    try screen(text)
    let root: Node?
    do {
      root = try compose(yaml: text, .default, .default, .utf8)
    } catch let error as YamlError {
      throw ParseFailure("not valid YAML: \(message(of: error))")
    } catch {
      throw ParseFailure("not valid YAML: \(error)")
    }
    guard let mapping = root?.mapping else { throw ParseFailure("expected lines of the form \"key: value\"") }
    var entries: [(key: String, value: Entry)] = []
    for (key, value) in mapping {
      guard let name = key.string, let scalar = value.scalar else {
        throw ParseFailure("expected lines of the form \"key: value\"")
      }
      // Quoted scalars are text; plain ones are what YAML resolves them to.
      if scalar.style != .plain {
        entries.append((name, .text(scalar.string)))
      } else if let bool = value.bool {
        entries.append((name, .bool(bool)))
      } else if let number = Double(scalar.string) {
        entries.append((name, .number(number)))
      } else {
        entries.append((name, .text(scalar.string)))
      }
    }
    return entries
  }

  private static func message(of error: YamlError) -> String {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return "\(problem), line \(mark.line)"
    case .reader(let problem, _, _, _): return problem
    case .duplicatedKeysInMapping(let duplicates, _):
      return "the key \(quoted(duplicates.first ?? "")) appears twice"
    default: return "the parser gave up"
    }
  }

  /// Refuses, before the YAML library sees it, whatever could make parsing recursive or costly: nesting in any notation,
  /// anchors, aliases, tags. What remains is one level of scalars, with comments and single-line quotes.
  private static func screen(_ text: String) throws(ParseFailure) {
    var number = 0
    for line in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      let content = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      if number == 1 && content.elementsEqual("---".utf8) { continue }
      var quote: UInt8?
      var previous = UInt8(ascii: " ")
      for (column, byte) in content.enumerated() {
        if byte < 0x20 && byte != 0x09 || byte == 0x7F { throw unsupported("a control character", number) }
        if let open = quote {
          if byte == UInt8(ascii: "\\") { throw unsupported("an escape", number) }
          if byte == open { quote = nil }
        } else if byte == UInt8(ascii: "#") && (previous == UInt8(ascii: " ") || previous == 0x09) {
          break
        } else if column == 0 && (byte == UInt8(ascii: "-") || byte == UInt8(ascii: " ") || byte == 0x09) {
          let isBlank = content.drop { $0 == UInt8(ascii: " ") || $0 == 0x09 }.first.map { $0 == UInt8(ascii: "#") }
          if isBlank ?? true { break }
          throw unsupported("nesting", number)
        } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
          quote = byte
        } else if "[]{}&*!?|>%@`\\".utf8.contains(byte) {
          throw unsupported("\"\(Unicode.Scalar(byte))\"", number)
        }
        previous = byte
      }
      if quote != nil { throw unsupported("a quotation that goes on over the line's end", number) }
    }
  }

  private static func unsupported(_ what: String, _ line: Int) -> ParseFailure {
    ParseFailure("line \(line): \(what) has no place in a policy, which is one flat list of \"key: value\" lines")
  }
}
