internal import ByteIO
internal import Tensors

/// A tensor as a strided view of a storage whose bytes are read by a closure. All bounds were checked when it was made:
/// every element lies in the storage.
struct TensorView: Sendable {
  let info: TensorInfo
  /// Which storage, by the archive's count.
  let storage: Int
  /// Of the first element in the storage, in bytes.
  let offset: UInt64
  /// In elements.
  let sizes: [Int]
  let strides: [Int]
  let width: Int

  /// - Parameter storageByteCount: bytes of the storage; for an old file's view, of the whole that it lies in.
  init(name: String, _ tensor: PickleTensor, _ storage: PickleStorage, storageByteCount: UInt64) throws(ParseFailure) {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: name) }
    let width = tensor.elementType.bits / 8
    var sizes: [Int] = []
    var strides: [Int] = []
    for (size, stride) in zip(tensor.sizes, tensor.strides) {
      guard size <= 1 << 48, stride <= 1 << 48 else { throw failure("the tensor's sizes are beyond all bounds") }
      sizes.append(Int(size))
      strides.append(Int(stride))
    }
    let shape = Shape(sizes)
    info = try TensorInfo(name: name, elementType: tensor.elementType, shape: shape)
    let start = storage.viewOffset.addingReportingOverflow(tensor.offset)
    guard !start.overflow else { throw failure("the tensor's offset overflows") }
    if info.byteCount > 0 {
      var last = start.partialValue
      for (size, stride) in zip(tensor.sizes, tensor.strides) {
        let span = (size - 1).multipliedReportingOverflow(by: stride)
        let sum = last.addingReportingOverflow(span.partialValue)
        guard !span.overflow, !sum.overflow else { throw failure("the tensor's extent overflows") }
        last = sum.partialValue
      }
      let elements = Int64(clamping: storageByteCount / UInt64(width))
      guard last < elements else {
        throw failure("the tensor's last element is number \(last) of a storage of \(elements)")
      }
      if storage.elementType != nil {
        guard last - storage.viewOffset < storage.elementCount else {
          throw failure("the tensor reaches beyond its storage's view")
        }
      }
    }
    self.storage = tensor.storage
    self.offset = UInt64(start.partialValue) * UInt64(width)
    self.sizes = sizes
    self.strides = strides
    self.width = width
  }

  /// Strides are those of row-major order, extents of 1 aside.
  var isContiguous: Bool {
    var expected = 1
    for (size, stride) in zip(sizes, strides).reversed() {
      if size != 1 {
        guard stride == expected else { return false }
        expected *= size
      }
    }
    return true
  }

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
    if sizes.count == 2, strides[0] == 1, sizes[1] > 0 {
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

  /// Spans of a row's elements up to this many bytes are read at once.
  private static let spanByteCount = 1 << 20

  /// Row by row: the stretch of the storage in which a row's elements lie is read, and the elements picked from it.
  private func readByRows(_ range: Range<Int>, into buffer: inout MutableSpan<UInt8>, _ read: StorageReader) throws {
    let length = sizes.last ?? 1
    let stride = strides.last ?? 0
    var element = range.lowerBound
    while element < range.upperBound {
      let column = element % length
      let perSpan = stride == 0 ? length : max(1, Self.spanByteCount / (stride * width))
      let count = min(length - column, range.upperBound - element, perSpan)
      let start = offset + UInt64((storageIndex(ofRow: element / length) + column * stride) * width)
      var stretch = [UInt8](repeating: 0, count: ((count - 1) * stride + 1) * width)
      var span = stretch.mutableSpan
      try read(start, &span)
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
