#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// A name as a dictionary key, compared and hashed by its UTF-8 bytes. Swift's `String` equality takes different normal
/// forms of a character for equal; files do not.
public struct UTF8Key: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let text: String

  public init(_ text: String) {
    var text = text
    text.makeContiguousUTF8()
    self.text = text
  }

  public static func == (left: Self, right: Self) -> Bool { compare(left, right) == 0 }

  /// Byte order, which for UTF-8 is the order of code points.
  public static func < (left: Self, right: Self) -> Bool { compare(left, right) < 0 }

  public func hash(into hasher: inout Hasher) {
    let done: Void? = text.utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    precondition(done != nil, "the text is contiguous UTF-8")
  }

  private static func compare(_ left: Self, _ right: Self) -> Int {
    let order: Int?? = left.text.utf8.withContiguousStorageIfAvailable { a in
      right.text.utf8.withContiguousStorageIfAvailable { b in
        if let from = a.baseAddress, let to = b.baseAddress {
          let common = Int(memcmp(from, to, min(a.count, b.count)))
          if common != 0 { return common }
        }
        return a.count - b.count
      }
    }
    guard case .some(.some(let result)) = order else { preconditionFailure("the text is contiguous UTF-8") }
    return result
  }

  public var description: String { text }
}
