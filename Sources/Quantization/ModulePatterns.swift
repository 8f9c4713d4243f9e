public import ByteIO

/// Names of modules as `--ignore`, `--only` and configurations give them: full names, compared byte by byte, or `re:`
/// followed by a regular expression that must match from the start of the name (Python's `re.match`). A name may be given
/// as the module's (`model.layers.0.mlp.up_proj`) or its weight's (with `.weight`).
public struct ModulePatterns: Sendable {
  /// Longest regular expression that is taken.
  public static let maximumExpressionLength = 1000
  /// Most patterns that are taken.
  public static let maximumCount = 100_000

  private static let weightSuffix = ".weight"

  /// As given.
  public let texts: [String]
  private let exact: Set<[UInt8]>
  private let expressions: [String]

  /// - Throws: `ParseFailure` for an empty pattern, an expression that cannot be parsed, and beyond the limits.
  public init(_ texts: [String]) throws(ParseFailure) {
    guard texts.count <= Self.maximumCount else {
      throw ParseFailure("\(texts.count) module patterns are more than the limit of \(Self.maximumCount)")
    }
    var exact = Set<[UInt8]>()
    var expressions: [String] = []
    for text in texts {
      if let expression = Self.expression(in: text) {
        _ = try Self.regex(expression)
        expressions.append(expression)
      } else {
        guard !text.isEmpty else { throw ParseFailure("a module pattern is empty; expected a full name or re:…") }
        exact.insert(Self.moduleName(text))
      }
    }
    self.texts = texts
    self.exact = exact
    self.expressions = expressions
  }

  public var isEmpty: Bool { texts.isEmpty }

  /// Whether some pattern matches the module called `module`.
  public func matches(_ module: String) -> Bool {
    exact.contains(Self.moduleName(module)) || expressions.contains { Self.matches($0, [module]) }
  }

  /// The patterns that match none of `modules`, in the order given.
  public func unmatched(among modules: [String]) -> [String] {
    let names = Set(modules.map { Self.moduleName($0) })
    return texts.filter { text in
      guard let expression = Self.expression(in: text) else { return !names.contains(Self.moduleName(text)) }
      return !Self.matches(expression, modules)
    }
  }

  private static func moduleName(_ name: String) -> [UInt8] {
    let bytes = Array(name.utf8)
    let suffix = Array(weightSuffix.utf8)
    return bytes.count > suffix.count && bytes.suffix(suffix.count) == suffix[...]
      ? bytes.dropLast(suffix.count) : bytes
  }

  private static func expression(in text: String) -> String? {
    text.utf8.starts(with: "re:".utf8) ? String(text.unicodeScalars.dropFirst(3)) : nil
  }

  private static func regex(_ expression: String) throws(ParseFailure) -> Regex<AnyRegexOutput> {
    guard !expression.isEmpty else {
      throw ParseFailure("the pattern re: has no expression; it would match every module")
    }
    guard expression.utf8.count <= maximumExpressionLength else {
      throw ParseFailure(
        "a regular expression of \(expression.utf8.count) bytes is longer than the limit of \(maximumExpressionLength)")
    }
    do {
      return try Regex(expression).matchingSemantics(.unicodeScalar)
    } catch {
      throw ParseFailure("re:\(expression) is no regular expression: \(error)")
    }
  }

  /// Expressions were parsed by `init`. They are compiled again here because a `Regex` cannot cross threads.
  private static func matches(_ expression: String, _ modules: [String]) -> Bool {
    guard let regex = try? regex(expression) else { preconditionFailure("the expression was parsed before") }
    return modules.contains { module in
      let name = String(decoding: moduleName(module), as: UTF8.self)
      return [name, name + weightSuffix].contains { (try? regex.prefixMatch(in: $0)) != nil }
    }
  }
}
