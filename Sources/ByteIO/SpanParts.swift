internal import CKernels

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

extension MutableSpan where Element == UInt8 {
  /// The bytes of `range`, lent for writing; the whole is borrowed meanwhile.
  @_lifetime(&self)
  public mutating func part(_ range: Range<Int>) -> MutableSpan<UInt8> { _mutatingExtracting(range) }

  /// Copies `source` to the start of this span. Traps when it does not fit.
  public mutating func copy(from source: Span<UInt8>, to offset: Int = 0) {
    precondition(offset >= 0 && source.count <= count - offset, "the source fits")
    guard source.count > 0 else { return }
    withUnsafeMutableBufferPointer { target in
      source.withUnsafeBufferPointer { bytes in
        guard let from = bytes.baseAddress, let to = target.baseAddress else { return }
        (to + offset).update(from: from, count: bytes.count)
      }
    }
  }
}

extension Span where Element == UInt8 {
  /// Whether all bytes are the same.
  public func isEqual(to other: Span<UInt8>) -> Bool {
    guard count == other.count else { return false }
    return withUnsafeBufferPointer { one in
      other.withUnsafeBufferPointer { two in
        guard let left = one.baseAddress, let right = two.baseAddress else { return true }
        return memcmp(left, right, one.count) == 0
      }
    }
  }

  /// The same bytes untyped, for parsers. (The standard library's `bytes` counts as unsafe since it admits elements with
  /// padding, which bytes have not.)
  public var rawBytes: RawSpan {
    @_lifetime(copy self)
    get { bytes }
  }
}

extension MutableSpan where Element == Float {
  /// The elements of `range`, lent for writing; the whole is borrowed meanwhile.
  @_lifetime(&self)
  public mutating func part(_ range: Range<Int>) -> MutableSpan<Float> { _mutatingExtracting(range) }
}

extension Array where Element == UInt8 {
  /// Bytes that `fill` writes, all of them: memory that is filled anyway is not cleared before.
  public init(count: Int, filledBy fill: (_ bytes: inout MutableSpan<UInt8>) throws -> Void) rethrows {
    try self.init(unsafeUninitializedCapacity: count) { buffer, initialized in
      if let start = buffer.baseAddress { ck_advise_huge_pages(start, count) }
      var span = MutableSpan(_unsafeElements: buffer)
      try fill(&span)
      initialized = count
    }
  }
}
