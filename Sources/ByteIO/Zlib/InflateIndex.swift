internal import CZlib

/// Random access into one raw deflate stream of a file (RFC 1951): one pass finds places to start from, each with the
/// window of 32 KiB that the bytes behind it refer to; a read then inflates from the nearest place before it. The method
/// of zlib's example zran.c. Memory: 32 KiB for each `spacing` bytes of content. A place can only be where a block of the
/// stream ends, so a read costs as much as inflating `spacing` bytes and one block before it.
public final class InflateIndex: Sendable {
  private struct Place: Sendable {
    /// Of the content.
    let offset: UInt64
    /// Of the compressed bytes, from the stream's start: the first whole byte behind the place.
    let compressedOffset: UInt64
    /// Bits of the byte before that belong to what follows, 0…7.
    let bits: Int32
    let window: [UInt8]
  }

  private let file: ReadableFile
  private let range: Range<UInt64>
  private let places: [Place]
  /// Bytes of the content.
  public let byteCount: UInt64
  /// CRC-32 of the content.
  public let checksum: UInt32

  /// Bytes of content between places unless the caller says otherwise.
  public static let spacing: UInt64 = 1 << 20
  /// Content of one block at most; compressors end theirs after some ten thousand symbols, 258 bytes each at the best.
  private static let blockLimit: UInt64 = 64 << 20
  private static let windowByteCount = 32_768
  private static let chunkByteCount = 1 << 16

  /// Inflates the stream in `range` of `file` once.
  /// - Parameters:
  ///   - limit: bytes of content at most.
  ///   - spacing: bytes of content between places.
  /// - Throws: `ParseFailure` for bytes that are no deflate stream, one that ends too early or too late, or one with more
  ///   content than `limit`, or with a block that none would write; `FileFailure`.
  public init(
    _ file: ReadableFile, range: Range<UInt64>, limit: UInt64, spacing: UInt64 = InflateIndex.spacing
  ) throws {
    var pass = Pass(file, range)
    var places = [Place(offset: 0, compressedOffset: 0, bits: 0, window: [])]
    var buffer = [UInt8](repeating: 0, count: Self.chunkByteCount)
    var total: UInt64 = 0
    var checksum: UInt32 = 0
    while !pass.isFinished {
      let produced = try pass.step(&buffer, stopAtBlocks: true)
      total += UInt64(produced)
      guard total <= limit else {
        throw ParseFailure("the compressed content is longer than the \(limit) bytes stated", offset: range.lowerBound)
      }
      checksum = CRC32.checksum(buffer.span.extracting(0..<produced), startingWith: checksum)
      let distance = total - places[places.count - 1].offset
      guard distance <= spacing + Self.blockLimit else {
        throw ParseFailure(
          "a block of the compressed stream holds more than \(Self.blockLimit) bytes",
          offset: range.lowerBound + pass.consumed)
      }
      if pass.isAtBlock && distance >= spacing {
        places.append(
          Place(offset: total, compressedOffset: pass.consumed, bits: pass.unusedBits, window: pass.window()))
      }
    }
    guard pass.consumed == UInt64(range.count) else {
      throw ParseFailure(
        "the compressed stream ends \(UInt64(range.count) - pass.consumed) bytes before its record does",
        offset: range.lowerBound + pass.consumed)
    }
    self.file = file
    self.range = range
    self.places = places
    self.checksum = checksum
    byteCount = total
  }

  /// Fills `buffer` with content from byte `offset` on. May be called from several threads at once.
  /// - Throws: `ParseFailure` for a range outside the content; `FileFailure`.
  public func read(at offset: UInt64, into buffer: inout MutableSpan<UInt8>) throws {
    guard offset <= byteCount, UInt64(buffer.count) <= byteCount - offset else {
      throw ParseFailure("\(buffer.count) bytes at byte \(offset) are asked for, the content has \(byteCount)")
    }
    guard buffer.count > 0 else { return }
    // The first place is the stream's start.
    let place = places.last { $0.offset <= offset } ?? places[0]
    var pass = try Pass(file, range, from: place.compressedOffset, bits: place.bits, window: place.window)
    var scratch = [UInt8](repeating: 0, count: Self.chunkByteCount)
    var position = place.offset
    var filled = 0
    while filled < buffer.count {
      let produced = try pass.step(&scratch, stopAtBlocks: false)
      guard produced > 0 || !pass.isFinished else { throw ParseFailure("the file was changed while it was read") }
      let end = position + UInt64(produced)
      if end > offset {
        let start = Int(max(offset, position) - position)
        let count = min(produced - start, buffer.count - filled)
        buffer.copy(from: scratch.span.extracting(start..<start + count), to: filled)
        filled += count
      }
      position = end
    }
  }

  /// One walk through the stream.
  private struct Pass: ~Copyable {
    private let state = State()
    private let file: ReadableFile
    private let range: Range<UInt64>
    private var input: [UInt8] = []
    private var next = 0
    private var fetched: UInt64
    private(set) var isFinished = false
    private(set) var isAtBlock = false

    init(_ file: ReadableFile, _ range: Range<UInt64>) {
      self.file = file
      self.range = range
      fetched = 0
    }

    init(
      _ file: ReadableFile, _ range: Range<UInt64>, from offset: UInt64, bits: Int32, window: [UInt8]
    ) throws {
      self.file = file
      self.range = range
      fetched = offset
      if bits > 0 {
        let byte = try file.bytes(at: range.lowerBound + offset - 1, count: 1)[0]
        inflatePrime(&state.stream, bits, Int32(byte >> (8 - UInt8(bits))))
      }
      guard !window.isEmpty else { return }
      window.withUnsafeBufferPointer {
        _ = inflateSetDictionary(&state.stream, $0.baseAddress, uInt($0.count))
      }
    }

    /// Compressed bytes used up.
    var consumed: UInt64 { fetched - UInt64(input.count - next) }
    var unusedBits: Int32 { state.stream.data_type & 7 }

    /// The last 32 KiB of content, or all that there is.
    func window() -> [UInt8] {
      var count = uInt(InflateIndex.windowByteCount)
      var bytes = [UInt8](repeating: 0, count: InflateIndex.windowByteCount)
      bytes.withUnsafeMutableBufferPointer { _ = inflateGetDictionary(&state.stream, $0.baseAddress, &count) }
      return Array(bytes[0..<Int(count)])
    }

    /// Inflates into `output`, a part of it at least unless the stream ends.
    /// - Returns: bytes put into `output`.
    mutating func step(_ output: inout [UInt8], stopAtBlocks: Bool) throws -> Int {
      if next == input.count { try fetch() }
      let (available, room) = (input.count - next, output.count)
      var code = Z_OK
      let start = next
      input.withUnsafeMutableBufferPointer { source in
        output.withUnsafeMutableBufferPointer { target in
          state.stream.next_in = source.baseAddress.map { $0 + start }
          state.stream.avail_in = uInt(available)
          state.stream.next_out = target.baseAddress
          state.stream.avail_out = uInt(room)
          code = inflate(&state.stream, stopAtBlocks ? Z_BLOCK : Z_NO_FLUSH)
        }
      }
      next += available - Int(state.stream.avail_in)
      let produced = room - Int(state.stream.avail_out)
      // zlib's manual: bit 7 says that a block has just ended, bit 6 that it was the last.
      isAtBlock = state.stream.data_type & 128 != 0 && state.stream.data_type & 64 == 0
      switch code {
      case Z_STREAM_END: isFinished = true
      case Z_OK: break
      case Z_BUF_ERROR where next == input.count && consumed < UInt64(range.count): break
      case Z_BUF_ERROR:
        throw ParseFailure("the compressed stream is cut short", offset: range.lowerBound + consumed)
      default:
        throw ParseFailure("the compressed bytes are no deflate stream", offset: range.lowerBound + consumed)
      }
      return produced
    }

    private mutating func fetch() throws {
      let count = min(UInt64(InflateIndex.chunkByteCount), UInt64(range.count) - fetched)
      input = try file.bytes(at: range.lowerBound + fetched, count: Int(count))
      fetched += count
      next = 0
    }
  }

  /// zlib's state: it must not move in memory.
  private final class State {
    var stream = z_stream()

    init() {
      let code = czlib_inflate_init_raw(&stream)
      precondition(code == Z_OK, "zlib starts")
    }

    deinit { inflateEnd(&stream) }
  }
}
