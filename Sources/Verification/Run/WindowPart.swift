/// One of several equal shares of a text's windows, interleaved: part i of n has the windows i, i + n, i + 2n, … of those
/// that are taken, so that every part is spread over the text and takes about the same time.
public struct WindowPart: Sendable, Equatable {
  /// 1 … count
  public let index: Int
  public let count: Int

  /// - Parameters:
  ///   - index: 1 … count; traps otherwise.
  ///   - count: at least 1.
  public init(index: Int, count: Int) {
    precondition(count >= 1 && (1...count).contains(index), "part 1 … \(count)")
    self.index = index
    self.count = count
  }

  /// The part's windows among `windows` of them, ascending.
  package func numbers(of windows: Int) -> [Int] { Array(stride(from: index - 1, to: windows, by: count)) }
}
