/// Limits of the format and of this reader, each stated in `formats/gguf.md`.
public enum GGUFLimits {
  /// Metadata and tensor table together. The largest known are about 40 MB; a file that claims more asks for memory, not
  /// for a model.
  public static let headerByteCount: UInt64 = 1 << 28
  /// Keys of one file.
  public static let keyCount = 1 << 20
  /// Tensors of one file.
  public static let tensorCount = 1 << 20
  /// Bytes of a key, as ggml's description of the format has it.
  public static let keyByteCount = 65_535
  /// Bytes of one string value, as in llama.cpp.
  public static let stringByteCount: UInt64 = 1 << 30
  /// Elements of one array, as in llama.cpp.
  public static let arrayCount: UInt64 = 1 << 30
  /// Bytes of a tensor's name: llama.cpp stores names in 64 bytes with a zero behind.
  public static let tensorNameByteCount = 63
  /// Dimensions of a tensor.
  public static let rank = 4
  /// Largest alignment. llama.cpp has no bound; padding would then be the file.
  public static let alignment = 1 << 20
  /// Alignment of files that state none.
  public static let defaultAlignment = 32
  /// Files of a split set: `split.count` is a UINT16.
  public static let pieceCount = 65_535

  /// Key with an empty text, its type, one byte of value.
  static let leastKeyByteCount: UInt64 = 13
  /// Tensor with an empty name and no dimensions.
  static let leastTensorByteCount: UInt64 = 24
  /// Bytes of the header that are in memory at a time.
  static let pieceByteCount: UInt64 = 1 << 18
  /// `GGUF`, version, number of tensors, number of keys.
  static let fixedByteCount: UInt64 = 24
}
