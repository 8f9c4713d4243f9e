/// Bytes that are not what a format demands. The reader's caller adds the file's name with `in(file:)`.
public struct ParseFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The file, once known.
  public var file: String?
  /// The tensor or other named part, if there is one.
  public var item: String?
  /// Byte offset from the start of the file where the fault was seen, if there is one.
  public var offset: UInt64?
  /// What is wrong: what was found and what was expected, as one sentence without a final stop.
  public var message: String
  /// What the user can do about it, as one sentence without a final stop.
  public var advice: String?

  public init(
    _ message: String, file: String? = nil, item: String? = nil, offset: UInt64? = nil, advice: String? = nil
  ) {
    self.message = message
    self.file = file
    self.item = item
    self.offset = offset
    self.advice = advice
  }

  /// The same failure, placed in `file`; a file already named stays.
  public func `in`(file path: String) -> ParseFailure {
    var placed = self
    if placed.file == nil { placed.file = path }
    return placed
  }

  public var description: String {
    var text = ""
    if let file { text += "\(file): " }
    if let item { text += "\(item): " }
    text += message
    if let offset { text += " (at byte \(offset))" }
    if let advice { text += "; \(advice)" }
    return text
  }
}
