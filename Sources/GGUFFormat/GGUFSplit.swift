internal import ByteIO

/// Keys and names that make several files one model.
enum GGUFSplit {
  static let numberKey = "split.no"
  static let countKey = "split.count"
  static let tensorCountKey = "split.tensors.count"
  static let keys = [numberKey, countKey, tensorCountKey]

  /// `NAME.gguf`, or `NAME-00002-of-00007.gguf` when there are several.
  static func fileName(_ name: String, _ number: Int, of count: Int) -> String {
    func padded(_ value: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
    return count == 1 ? name + ".gguf" : "\(name)-\(padded(number))-of-\(padded(count)).gguf"
  }

  /// NAME of `NAME-00002-of-00007.gguf`; nil when the file name is not that of piece `number` of `count`.
  static func name(of fileName: String, _ number: Int, of count: Int) -> String? {
    let ending = String(Self.fileName("", number, of: count))
    guard fileName.utf8.count > ending.utf8.count, fileName.hasSuffix(ending) else { return nil }
    return String(fileName.dropLast(ending.count))
  }
}

/// What one file says of the set that it belongs to.
struct GGUFSplitKeys {
  /// From 0 on.
  let number: Int
  let count: Int
  /// Of all pieces together.
  let tensorCount: Int

  /// Nil when the file is no piece: `split.count` is absent, or 0 as merging tools leave it.
  /// - Throws: `ParseFailure` when a key is missing or has another type than llama.cpp asks for.
  init?(_ metadata: GGUFMetadata) throws(ParseFailure) {
    guard let count = try metadata.scalar(GGUFSplit.countKey, as: UInt16.self), count > 0 else { return nil }
    number = Int(try metadata.requiredScalar(GGUFSplit.numberKey, as: UInt16.self))
    self.count = Int(count)
    tensorCount = Int(try metadata.requiredScalar(GGUFSplit.tensorCountKey, as: Int32.self))
  }
}
