internal import ByteIO
internal import Tensors

/// What a tensor may ask for that its storage does not hold.
public enum ViewLimits {
  /// A view repeats elements when it has more bytes than its storage (`expand`). So many bytes at most: a small file must
  /// not stand for a model of any size.
  public static let repeatedByteCount = 16 << 20
  /// Elements of a row that are no further apart than this are read with what is between them; others one by one. So a view
  /// never costs more than this many times its own bytes.
  public static let gap = 64
}

/// A tensor as a strided view of a storage whose bytes are read by a closure. All bounds were checked when it was made:
/// every element lies in the storage.
struct TensorView: Sendable {
  let info: TensorInfo
  /// Which storage, by the archive's count.
  let storage: Int
  /// Of the first element in the storage, in bytes.
  let offset: UInt64
  /// Extents and strides in elements, outermost first, as few as possible: extents of 1 are left out, and one that goes on
  /// where the next ends is one with it. None for a scalar.
  let sizes: [Int]
  let strides: [Int]
  private let width: Int

  /// - Parameter storageByteCount: bytes of the storage; for an old file's view, of the whole that it lies in.
  init(name: String, _ tensor: PickleTensor, _ storage: PickleStorage, storageByteCount: UInt64) throws(ParseFailure) {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: name) }
    width = tensor.elementType.bits / 8
    self.storage = tensor.storage
    var (sizes, strides) = ([Int](), [Int]())
    for (size, stride) in zip(tensor.sizes, tensor.strides) {
      guard size <= 1 << 48, stride <= 1 << 48 else { throw failure("the tensor's sizes are beyond all bounds") }
      sizes.append(Int(size))
      strides.append(Int(stride))
    }
    info = try TensorInfo(name: name, elementType: tensor.elementType, shape: Shape(sizes))
    guard info.byteCount > 0 else {
      // Nothing is ever read: what offset and strides say is of no account.
      (offset, self.sizes, self.strides) = (0, [0], [1])
      return
    }
    offset = try UInt64(Self.firstElement(tensor, storage, storageByteCount, failure)) * UInt64(width)
    guard info.byteCount <= ViewLimits.repeatedByteCount || UInt64(info.byteCount) <= storageByteCount else {
      throw failure(
        "the tensor repeats the \(storageByteCount) bytes of its storage to \(info.byteCount), at most "
          + "\(ViewLimits.repeatedByteCount) are made so")
    }
    (self.sizes, self.strides) = Self.coalesced(sizes, strides)
  }

  /// Index of the first element in the storage, after all elements were found to be inside.
  private static func firstElement(
    _ tensor: PickleTensor, _ storage: PickleStorage, _ storageByteCount: UInt64, _ failure: (String) -> ParseFailure
  ) throws(ParseFailure) -> Int64 {
    let first = storage.viewOffset.addingReportingOverflow(tensor.offset)
    guard !first.overflow else { throw failure("the tensor's offset overflows") }
    var last = first.partialValue
    for (size, stride) in zip(tensor.sizes, tensor.strides) {
      let extent = (size - 1).multipliedReportingOverflow(by: stride)
      let sum = last.addingReportingOverflow(extent.partialValue)
      guard !extent.overflow, !sum.overflow else { throw failure("the tensor's extent overflows") }
      last = sum.partialValue
    }
    let elements = Int64(clamping: storageByteCount / UInt64(tensor.elementType.bits / 8))
    guard last < elements else {
      throw failure("the tensor's last element is number \(last) of a storage of \(elements)")
    }
    // Elements of an untyped storage are bytes, and it has no views.
    guard storage.elementType == nil || last - storage.viewOffset < storage.elementCount else {
      throw failure("the tensor reaches beyond its storage's view")
    }
    return first.partialValue
  }

  private static func coalesced(_ sizes: [Int], _ strides: [Int]) -> ([Int], [Int]) {
    var (fewer, steps) = ([Int](), [Int]())
    for (size, stride) in zip(sizes, strides) where size != 1 {
      let extent = size.multipliedReportingOverflow(by: stride)
      if let last = steps.last, !extent.overflow, last == extent.partialValue {
        fewer[fewer.count - 1] *= size
        steps[steps.count - 1] = stride
      } else {
        fewer.append(size)
        steps.append(stride)
      }
    }
    return (fewer, steps)
  }

  /// The elements stand in the storage one behind the other, in row-major order.
  var isContiguous: Bool { sizes.isEmpty || sizes.count == 1 && strides[0] == 1 }

  /// Reads bytes of the storage.
  typealias StorageReader = (_ offset: UInt64, _ buffer: inout MutableSpan<UInt8>) throws -> Void

  /// Fills `buffer` with the tensor's bytes in row-major order from byte `position` on, both multiples of the element.
  func read(at position: Int, into buffer: inout MutableSpan<UInt8>, _ read: StorageReader) throws {
    if buffer.count == 0 { return }
    if isContiguous { return try read(offset + UInt64(position), &buffer) }
    guard position % width == 0, buffer.count % width == 0 else {
      throw ParseFailure("a strided tensor is read in whole elements", item: info.name)
    }
    let range = position / width..<(position + buffer.count) / width
    if sizes.count == 2, strides[0] == 1, strides[1] > ViewLimits.gap {
      try readTransposed(range, into: &buffer, read)
    } else {
      try readByRows(range, into: &buffer, read)
    }
  }

  /// Columns are contiguous: the pieces of each column in the rows of the range are read and scattered.
  private func readTransposed(_ range: Range<Int>, into buffer: inout MutableSpan<UInt8>, _ read: StorageReader) throws
  {
    let columns = sizes[1]
    let rows = range.lowerBound / columns..<(range.upperBound - 1) / columns + 1
    var piece = [UInt8](repeating: 0, count: rows.count * width)
    for column in 0..<columns {
      var span = piece.mutableSpan
      try read(offset + UInt64((column * strides[1] + rows.lowerBound) * width), &span)
      for row in rows {
        let element = row * columns + column
        guard range.contains(element) else { continue }
        let from = (row - rows.lowerBound) * width
        buffer.copy(from: piece.span.extracting(from..<from + width), to: (element - range.lowerBound) * width)
      }
    }
  }

  /// Stretches of a row's elements up to this many bytes are read at once.
  private static let stretchByteCount = 1 << 20

  /// Row by row: the stretch of the storage in which a row's elements lie is read, and the elements picked from it.
  private func readByRows(_ range: Range<Int>, into buffer: inout MutableSpan<UInt8>, _ read: StorageReader) throws {
    let (length, stride) = (sizes[sizes.count - 1], strides[strides.count - 1])
    let most =
      switch stride {
      case 0: length
      case 1...ViewLimits.gap: max(1, Self.stretchByteCount / (stride * width))
      default: 1
      }
    var stretch: [UInt8] = []
    var element = range.lowerBound
    while element < range.upperBound {
      let column = element % length
      let count = min(length - column, range.upperBound - element, most)
      let start = offset + UInt64((storageIndex(ofRow: element / length) + column * stride) * width)
      let byteCount = ((count - 1) * stride + 1) * width
      if stretch.count < byteCount { stretch = [UInt8](repeating: 0, count: byteCount) }
      var span = stretch.mutableSpan
      var part = span.part(0..<byteCount)
      try read(start, &part)
      for index in 0..<count {
        let from = index * stride * width
        buffer.copy(
          from: stretch.span.extracting(from..<from + width), to: (element - range.lowerBound + index) * width)
      }
      element += count
    }
  }

  /// Index in the storage, in elements from the tensor's first, of the first element of a row: rows are counted over all
  /// extents but the last.
  private func storageIndex(ofRow row: Int) -> Int {
    var rest = row
    var index = 0
    for (size, stride) in zip(sizes.dropLast(), strides.dropLast()).reversed() {
      index += rest % size * stride
      rest /= size
    }
    return index
  }
}
