internal import CKernels

/// Integer codes in 32-bit words, little-endian, as compressed-tensors, GPTQ and AWQ store them. In memory a code is an
/// int8: −2^(bits−1) … 2^(bits−1) − 1; in a word it is an unsigned field of `bits` bits, 4 or 8.
public enum IntegerPacking {
  /// Which rows the fields of a word that runs across rows hold, from the lowest bits on.
  public enum FieldOrder: Sendable, Hashable {
    /// Row k in field k.
    case natural
    /// AutoAWQ's GEMM kernels: fields hold rows 0, 2, 4, 6, 1, 3, 5, 7. Of 4 bits.
    case awq

    var fields: [UInt8] { self == .natural ? [0, 1, 2, 3, 4, 5, 6, 7] : [0, 2, 4, 6, 1, 3, 5, 7] }
  }

  /// Words that a row of `columns` codes takes.
  public static func wordCount(columns: Int, bits: Int) -> Int { (columns * bits + 31) / 32 }

  /// Packs whole rows, each a bit string of its own in whole words: field = code + 2^(bits−1); unused bits are zero.
  /// - Parameter words: bytes of the words, `[rows, wordCount]`.
  public static func packRows(_ codes: Span<UInt8>, columns: Int, bits: Int, into words: inout MutableSpan<UInt8>) {
    let rowBytes = 4 * wordCount(columns: columns, bits: bits)
    precondition(columns > 0 && words.count == codes.count / columns * rowBytes, "whole rows")
    codes.withUnsafeBytes { codes in
      words.withUnsafeMutableBytes { words in
        guard let from = codes.baseAddress?.assumingMemoryBound(to: Int8.self),
          let to = words.baseAddress?.assumingMemoryBound(to: UInt8.self)
        else { return }
        to.update(repeating: 0, count: words.count)
        for row in 0..<codes.count / columns {
          ck_pack_row(from + row * columns, columns, Int32(bits), to + row * rowBytes)
        }
      }
    }
  }

  /// The inverse of `packRows`.
  public static func unpackRows(_ words: Span<UInt8>, columns: Int, bits: Int, into codes: inout MutableSpan<UInt8>) {
    let rowBytes = 4 * wordCount(columns: columns, bits: bits)
    precondition(columns > 0 && words.count == codes.count / columns * rowBytes, "whole rows")
    words.withUnsafeBytes { words in
      codes.withUnsafeMutableBytes { codes in
        guard let from = words.baseAddress?.assumingMemoryBound(to: UInt8.self),
          let to = codes.baseAddress?.assumingMemoryBound(to: Int8.self)
        else { return }
        for row in 0..<codes.count / columns {
          ck_unpack_row(from + row * rowBytes, columns, Int32(bits), to + row * columns)
        }
      }
    }
  }

  /// Packs rows in words that hold one column of 32 / bits rows: field = (code + bias) modulo 2^bits. Rows that are missing
  /// in the last word are zero fields.
  /// - Parameters:
  ///   - codes: `[rows, columns]`
  ///   - words: bytes of the words, `[⌈rows · bits / 32⌉, columns]`.
  public static func packColumns(
    _ codes: Span<UInt8>, columns: Int, bits: Int, order: FieldOrder, bias: Int, into words: inout MutableSpan<UInt8>
  ) {
    let perWord = 32 / bits
    precondition(columns > 0 && codes.count % columns == 0, "whole rows")
    let rows = codes.count / columns
    precondition(words.count == (rows + perWord - 1) / perWord * columns * 4, "a word per column and rows of a word")
    codes.withUnsafeBytes { codes in
      words.withUnsafeMutableBytes { words in
        guard let from = codes.baseAddress?.assumingMemoryBound(to: Int8.self),
          let to = words.baseAddress?.assumingMemoryBound(to: UInt32.self)
        else { return }
        for first in stride(from: 0, to: rows, by: perWord) {
          ck_pack_columns(
            from + first * columns, columns, min(perWord, rows - first), columns, Int32(bits), order.fields,
            Int32(bias), to + first / perWord * columns)
        }
      }
    }
  }

  /// The inverse of `packColumns`: code = field − bias, modulo 2^bits from −2^(bits−1) on. `rows` of the words' rows are wanted, from the first one on.
  public static func unpackColumns(
    _ words: Span<UInt8>, rows: Int, columns: Int, bits: Int, order: FieldOrder, bias: Int,
    into codes: inout MutableSpan<UInt8>
  ) {
    let perWord = 32 / bits
    precondition(columns > 0 && codes.count == rows * columns, "whole rows")
    precondition(words.count == (rows + perWord - 1) / perWord * columns * 4, "a word per column and rows of a word")
    words.withUnsafeBytes { words in
      codes.withUnsafeMutableBytes { codes in
        guard let from = words.baseAddress?.assumingMemoryBound(to: UInt32.self),
          let to = codes.baseAddress?.assumingMemoryBound(to: Int8.self)
        else { return }
        for first in stride(from: 0, to: rows, by: perWord) {
          ck_unpack_columns(
            from + first / perWord * columns, min(perWord, rows - first), columns, Int32(bits), order.fields,
            Int32(bias), to + first * columns, columns)
        }
      }
    }
  }

  /// The transpose of a matrix `[rows, columns]` of elements of 2 or 4 bytes.
  public static func transpose(
    _ elements: Span<UInt8>, rows: Int, columns: Int, size: Int, into target: inout MutableSpan<UInt8>
  ) {
    precondition(size == 2 || size == 4, "halves or words")
    precondition(elements.count == rows * columns * size && target.count == elements.count, "whole matrices")
    elements.withUnsafeBytes { source in
      target.withUnsafeMutableBytes { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        if size == 4 {
          ck_transpose_words(
            from.assumingMemoryBound(to: UInt32.self), columns, rows, columns,
            to.assumingMemoryBound(to: UInt32.self), rows)
        } else {
          ck_transpose_halves(
            from.assumingMemoryBound(to: UInt16.self), columns, rows, columns,
            to.assumingMemoryBound(to: UInt16.self), rows)
        }
      }
    }
  }
}
