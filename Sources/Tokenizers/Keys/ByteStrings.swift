/// A long list of short byte strings in two allocations: a vocabulary or its merge rules, hundreds of thousands of
/// texts. What is in it need not be well-formed UTF-8.
public struct ByteStrings: Sendable, Hashable, RandomAccessCollection {
  private var bytes: [UInt8] = []
  private var ends: [Int] = []

  public init() {}

  public init(_ strings: some Sequence<some Sequence<UInt8>>) { for string in strings { append(string) } }

  public init(_ texts: some Sequence<String>) { for text in texts { append(text.utf8) } }

  public var startIndex: Int { 0 }
  public var endIndex: Int { ends.count }
  /// The bytes of all strings together.
  public var byteCount: Int { bytes.count }

  public subscript(index: Int) -> ArraySlice<UInt8> { bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }

  public mutating func append(_ string: some Sequence<UInt8>) {
    bytes.append(contentsOf: string)
    ends.append(bytes.count)
  }

  /// The string at `index`; nil when it is not well-formed UTF-8.
  public func text(at index: Int) -> String? {
    let string = Array(self[index])
    return UTF8Scanner.firstFault(in: string.span) == nil ? String(decoding: string, as: UTF8.self) : nil
  }
}
