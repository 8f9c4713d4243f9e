public import ByteIO

/// Extents of a tensor, outermost first. A linear weight is `[out, in]`, stored row by row.
public struct Shape: Sendable, Hashable, CustomStringConvertible, ExpressibleByArrayLiteral {
  public let dimensions: [Int]

  /// Traps on a negative extent.
  public init(_ dimensions: [Int]) {
    precondition(dimensions.allSatisfy { $0 >= 0 }, "extents are not negative")
    self.dimensions = dimensions
  }

  public init(arrayLiteral elements: Int...) { self.init(elements) }

  public var rank: Int { dimensions.count }

  /// Number of elements, multiplied in dimension order; 1 for a scalar.
  /// - Throws: `ParseFailure` when a product passes `Int.max`, even if a later extent is zero (as safetensors does).
  public func elementCount() throws(ParseFailure) -> Int {
    var count = 1
    for extent in dimensions {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard !overflow else { throw ParseFailure("the number of elements of shape \(self) overflows") }
      count = product
    }
    return count
  }

  /// Bytes of a dense tensor of this shape.
  /// - Throws: `ParseFailure` when the size overflows or is no whole number of bytes, or rows no whole number of blocks.
  public func byteCount(of type: ElementType) throws(ParseFailure) -> Int {
    if let block = type.block { return try byteCount(inBlocks: block) }
    let (bits, overflow) = try elementCount().multipliedReportingOverflow(by: type.bits)
    guard !overflow else { throw ParseFailure("the size of shape \(self) in \(type) overflows") }
    guard bits % 8 == 0 else { throw ParseFailure("shape \(self) in \(type) is no whole number of bytes") }
    return bits / 8
  }

  /// Blocks lie along the innermost extent and never span rows.
  private func byteCount(inBlocks type: BlockType) throws(ParseFailure) -> Int {
    let (elements, bytes) = type.size
    let columns = dimensions.last ?? 1
    guard columns % elements == 0 else {
      throw ParseFailure("rows of \(columns) elements are no whole number of \(type)'s blocks of \(elements)")
    }
    let (count, overflow) = (try elementCount() / elements).multipliedReportingOverflow(by: bytes)
    guard !overflow else { throw ParseFailure("the size of shape \(self) in \(type) overflows") }
    return count
  }

  /// Outermost extent; 1 for a scalar.
  public var rows: Int { dimensions.first ?? 1 }

  public var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
